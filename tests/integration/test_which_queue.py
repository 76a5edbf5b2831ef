"""Everybody says which queue it is, and by which configuration file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qcore import App, Config
from qcore.errors import UnknownKey
from tests.integration.land import until
from tests.integration.service import surroundings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.portable

MADE = "a new queue is made in the state directory, because no setting names a place"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration and a folder below it."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "below").mkdir()
    (tmp_path / "shop" / "qcore.toml").write_text('workers = 1\nsqlite.path = "queue.db"\n')
    (tmp_path / "bare").mkdir()
    return tmp_path


def qcore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; the user's state directory is beside it."""
    env = surroundings() | {"XDG_STATE_HOME": str(folder.parent / "state")}
    program = [sys.executable, "-m", "qcore", *arguments]
    return subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False)


def run_until_ready(folder: Path) -> str:
    """Start a cluster in a folder, stop it and return what it has said."""
    env = surroundings() | {"XDG_STATE_HOME": str(folder.parent / "state")}
    log = folder / "log"
    with log.open("wb") as file:
        cluster = subprocess.Popen(
            [sys.executable, "-m", "qcore", "run"], cwd=folder, env=env, stdout=file, stderr=file
        )
    try:
        until(lambda: "is ready" in log.read_text(), "the cluster to be ready")
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(100)
    return log.read_text()


def test_run_says_which_queue_it_works_on(folder: Path) -> None:
    """File and queue are named, from a folder below too."""
    told = run_until_ready(folder / "shop" / "below")

    assert f"{folder}/shop/queue.db; configuration: {folder}/shop/qcore.toml" in told
    assert "WARNING" not in told


def test_without_a_configuration_file_it_is_said(folder: Path) -> None:
    """Once when the queue is made; a cluster says at each start that its queue is in the state directory."""
    where = f"{folder}/state/qcore/default.db"
    first, second = qcore(folder / "bare", "enqueue", "math.sqrt", "4"), run_until_ready(folder / "bare")

    assert f"{MADE}: the configuration was given in code, or there is no qcore.toml in " in first.stderr
    assert f" in {folder}/bare or above: {where}" in first.stderr
    assert MADE not in second
    assert f"{where}; configuration: no file, so the queue is in the state directory" in second
    assert not qcore(folder / "bare", "enqueue", "math.sqrt", "4").stderr


def test_a_producer_is_told_once(folder: Path) -> None:
    """A program that logs nothing by itself shows the warning on standard error."""
    program = "from qcore import App\nfor n in range(3): App().enqueue('math.sqrt', n)"
    env = surroundings() | {"XDG_STATE_HOME": str(folder / "state")}

    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder / "bare", env=env, capture_output=True, text=True, check=True,
        ).stderr
        for _ in range(2)
    ]  # fmt: skip

    assert [text.count(MADE) for text in told] == [1, 0]


def test_info_and_health_name_the_file(folder: Path) -> None:
    """What is looked at is known before it is believed."""
    qcore(folder / "shop", "enqueue", "math.sqrt", "4")
    file, queue = f"{folder}/shop/qcore.toml", f"{folder}/shop/queue.db"

    info, health = qcore(folder / "shop" / "below", "info"), qcore(folder / "shop", "health")
    record = json.loads(qcore(folder / "shop", "health", "--json").stdout)

    assert f"settings  {file}" in info.stdout
    assert queue in info.stdout
    first, second = health.stdout.splitlines()
    assert first.startswith("queue default: SQLite")
    assert first.endswith(f", {queue}; configuration: {file}")
    assert second == "unhealthy: no cluster works on queue 'default'; start one with: qcore run MODULE:APP"
    assert (record["name"], record["configuration"]) == ("default", file)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, r"from the key file .*queue\.key: use that key"),
        ({"secret_key": "file:{folder}/key"}, r"from the key file .*/key: use that key"),
        ({"secret_key": "k" * 40}, r"from secret_key, given in code: use that key"),
    ],
)
def test_an_unknown_key_says_which_key_is_used_here(
    folder: Path, settings: dict[str, str], told: str
) -> None:
    """Most often two programs read two key files."""
    (folder / "key").write_text("another key, of the tests of unknown keys\n")
    values = {key: value.format(folder=folder) for key, value in settings.items()}
    config = Config.from_dict({"sqlite": {"path": str(folder / "queue.db")}, **values})
    here = App(Config.unpacked(config.packed()))
    there = App(Config.from_dict({"secret_key": "x0" * 20, "sqlite": {"path": str(folder / "other.db")}}))
    there.enqueue("math.sqrt", 4)
    with there.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 0)

    with pytest.raises(UnknownKey, match=rf"^signed with key .*, which is not in secret_key; .*{told}"):
        here.runtime.envelope.open(delivery.body)


def test_a_key_from_a_variable_is_named(folder: Path) -> None:
    """The variable is told, never its value."""
    env = {"QCORE_SECRET_KEY": "v" * 40, "QCORE_CONFIG": str(folder / "shop" / "qcore.toml")}

    config = Config.load(env=env)

    assert Config.unpacked(config.packed()).key_text == "secret_key from QCORE_SECRET_KEY"

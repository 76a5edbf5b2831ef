"""Keys come from the configuration, from files, or are made once beside the queue."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.plugins import Plugins
from qcore.settings import keyfile

if TYPE_CHECKING:
    from pathlib import Path

KEY = "an old song of the sea, sung twice"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins.discover(env={})


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the user's state into a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state" / "qcore"


def fault_of(config: Config) -> str:
    """Return what is wrong with the keys."""
    with pytest.raises(ConfigError) as caught:
        config.keys()
    [message] = caught.value.problems
    return message


def test_declaring_makes_no_file(plugins: Plugins, state: Path) -> None:
    """Creating a configuration creates no file."""
    Config.from_dict({}, plugins)

    assert not state.parent.exists()


def test_key_is_made_beside_the_default_queue(plugins: Plugins, state: Path) -> None:
    """A key is created without configuration, and only its owner may read it."""
    [key] = Config.from_dict({"name": "mail.v2"}, plugins).keys()

    path = state / "mail.v2.key"
    assert path.read_text() == f"{key}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(key) >= keyfile.RECOMMENDED
    assert list(state.iterdir()) == [path]


def test_key_is_made_beside_the_queue_that_was_named(plugins: Plugins, tmp_path: Path) -> None:
    """The key file is next to the queue's file, so that they can be moved together."""
    config = Config.from_dict({"sqlite": {"path": "shop/queue.db"}}, plugins)

    assert config.keys() == tuple((tmp_path / "shop" / "queue.key").read_text().split())


def test_key_stays_the_same(plugins: Plugins) -> None:
    """A second process, or the next start, reads the key that the first one created."""
    first = Config.from_dict({}, plugins).keys()

    assert Config.from_dict({}, plugins).keys() == first


def test_processes_that_start_at_once_get_one_key(plugins: Plugins, state: Path) -> None:
    """A second process reads the key of the first one, never a part of it."""
    program = "from qcore.config import Config; input(); print(*Config.from_dict({}).keys())"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]

    with ThreadPoolExecutor(len(started)) as threads:
        keys = set(threads.map(lambda process: process.communicate("\n", timeout=60)[0].strip(), started))

    assert keys == {(state / "default.key").read_text().strip()}
    assert [path.name for path in state.iterdir()] == ["default.key"]


def test_threads_that_start_at_once_get_one_key(state: Path) -> None:
    """The same holds within one process."""
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: keyfile.read_or_create(state / "x.key"), range(50)))

    assert len(found) == 1


def test_memory_broker_has_a_key_of_its_process(plugins: Plugins, state: Path) -> None:
    """A queue that exists only in one process needs no key file."""
    config = Config.from_dict({"memory": {}}, plugins)

    assert config.keys() == config.keys()
    assert config.keys() != Config.from_dict({"memory": {}}, plugins).keys()
    assert not state.exists()


def test_keys_are_the_configured_ones(plugins: Plugins) -> None:
    """The first signs, all verify."""
    assert Config.from_dict({"secret_key": [KEY, KEY[::-1]]}, plugins).keys() == (KEY, KEY[::-1])


def test_keys_are_read_from_files(plugins: Plugins, tmp_path: Path) -> None:
    """A file holds one key a line; files and texts may be mixed."""
    (tmp_path / "keys").write_text(f"{KEY}1\n\n  {KEY}2\n")

    config = Config.from_dict({"secret_key": ["file:keys", KEY]}, plugins)

    assert config.keys() == (f"{KEY}1", f"{KEY}2", KEY)


def test_key_is_read_once(plugins: Plugins, tmp_path: Path) -> None:
    """A process does not change its key while it runs."""
    (tmp_path / "key").write_text(KEY)
    config = Config.from_dict({"secret_key": "file:key"}, plugins)
    config.keys()
    (tmp_path / "key").unlink()

    assert config.keys() == (KEY,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory); make one with 'qcore keys new'"),
        (b"", "is empty; delete it to create a new key, or restore yours"),
        (b"\xff\xfe", "cannot be read (it is not text); make one with 'qcore keys new'"),
    ],
)
def test_file_without_a_key_is_reported(
    plugins: Plugins, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A key file that cannot be used is named."""
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    reported = fault_of(Config.from_dict({"secret_key": "file:key"}, plugins))

    assert reported == f"secret_key: the key file 'key' {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x", "it has 1 character, 16 are needed and 32 are better; make one with 'qcore keys new'"),
        ("short", "it has 5 characters, 16 are needed and 32 are better; make one with 'qcore keys new'"),
        ("change-me-change-me-change-me-now-please"[:34], "it is a well-known placeholder"),
        ("file:/another/file/altogether", "it names another file; write the key itself"),
    ],
)
def test_bad_key_in_a_file_is_reported_without_it(
    plugins: Plugins, tmp_path: Path, content: str, message: str
) -> None:
    """A key in a file is judged like any other."""
    (tmp_path / "key").write_text(content if "placeholder" not in message else "change-me-" * 4)

    reported = fault_of(Config.from_dict({"secret_key": "file:key"}, plugins))

    assert reported.startswith(f"secret_key: the key in the file 'key' cannot be used: {message}")
    assert content not in reported


def test_key_that_cannot_be_made_is_reported(plugins: Plugins, tmp_path: Path) -> None:
    """Without a place for the key there is a way out."""
    (tmp_path / "file").write_text("")

    reported = fault_of(Config.from_dict({"sqlite": {"path": "file/queue.db"}}, plugins))

    assert reported == (
        f"secret_key: the key file '{tmp_path}/file/queue.key' cannot be created (File exists); "
        "make the folder writable, or set secret_key yourself: make one with 'qcore keys new'"
    )


def test_key_file_that_others_can_read_is_warned_of(
    plugins: Plugins, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copied folder may have lost its permissions."""
    Config.from_dict({}, plugins).keys()
    (state / "default.key").chmod(0o644)

    Config.from_dict({}, plugins).keys()

    path = os.path.realpath(state / "default.key")
    assert caplog.messages == [f"other users can read the key file path={path}; run chmod 600 on it"]


def test_configuration_made_past_the_checks_needs_a_key() -> None:
    """A shared broker never gets a key of its own making."""
    reported = fault_of(Config(broker="redis"))

    assert reported == "secret_key: missing; the broker 'redis' needs one: make one with 'qcore keys new'"

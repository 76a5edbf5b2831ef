"""Keys come from the configuration, from files, or are made once beside the queue."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.plugins import Plugins
from qcore_settings import keyfile

if TYPE_CHECKING:
    from collections.abc import Callable
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
        found = set(threads.map(lambda _: keyfile.beside(state / "x.db"), range(50)))

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
        (None, "does not exist; restore it, or make a new one with 'qcore keys new --write key'"),
        (b"", "is empty; delete it to create a new key, or restore yours"),
        (b"\xff\xfe", "cannot be read (it is not text); restore it"),
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


def test_key_that_was_lost_is_not_replaced(plugins: Plugins, tmp_path: Path) -> None:
    """A new key beside an old queue would have workers refuse all that waits in it."""
    queue = tmp_path / "queue.db"
    queue.write_bytes(b"SQLite")

    told = problem_of(plugins, queue)

    assert told.startswith(f"secret_key: the key file '{tmp_path}/queue.key' is gone")
    assert "restore it from a backup, or start over with 'qcore purge --everything'" in told
    assert not (tmp_path / "queue.key").exists()


def test_file_that_is_empty_has_not_lost_its_key(plugins: Plugins, tmp_path: Path) -> None:
    """Another process may have made the file a moment ago, and its tables are to come."""
    (tmp_path / "queue.db").touch()

    assert Config.from_dict({"sqlite": {"path": str(tmp_path / "queue.db")}}, plugins).keys()


NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
@pytest.mark.parametrize(
    ("owner", "told"),
    [
        (0, r"belongs to the user 'root' and cannot be read by 'nobody': run this program as 'root'"),
        (NOBODY, r"is yours, but its mode forbids to read it: chmod 600"),
    ],
)
def test_key_file_of_another_user_is_told_as_such(
    plugins: Plugins, tmp_path: Path, owner: int, told: str, mode: int
) -> None:
    """Nobody is told to make another key, which would open nothing."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    key = home / "queue.key"
    key.write_text(f"{KEY}\n")
    os.chown(key, owner, owner)
    key.chmod(0o600 if owner == 0 else 0)
    home.chmod(mode)
    if mode == 0o700:
        told = r"is in a folder that the user 'nobody' may not enter"

    found = as_nobody(lambda: problem_of(plugins, home / "queue.db", f"file:{key}"))

    assert re.search(told, found), found
    assert "keys new" not in found


def problem_of(plugins: Plugins, queue: Path, secret: str | None = None) -> str:
    """Return what is wrong with the keys of a queue."""
    settings = {"sqlite": {"path": str(queue)}, **({"secret_key": secret} if secret else {})}
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(settings, plugins).keys()
    return caught.value.problems[0]


def as_nobody(ask: Callable[[], str]) -> str:
    """Call something as a user who owns nothing."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writes, ask().encode())
        except BaseException as exc:
            os.write(writes, repr(exc).encode())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(pid, 0)
    with os.fdopen(reads) as pipe:
        return pipe.read()

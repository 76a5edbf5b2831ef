"""An error in a user's program is understood from the last line of its traceback."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import BackendRejected, ConfigError, QueueMissing, ResultNotReady, TaskNameError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "the key of the tests of last lines"


def app(folder: Path, **settings: Any) -> App:
    """Return an App on a queue in a folder."""
    table = {"name": "shop", "sqlite": {"path": str(folder / "queue.db")}}
    return App(Config.from_dict(table | settings))


def lost_key(folder: Path) -> None:
    """Use a queue whose key file is gone."""
    app(folder).enqueue("math.sqrt", 4)
    (folder / "queue.key").unlink()
    app(folder).enqueue("math.sqrt", 4)


def no_key_file(folder: Path) -> None:
    """Name a key file that is not there."""
    app(folder, secret_key="file:/nowhere/key").enqueue("math.sqrt", 4)


def other_queue(folder: Path) -> None:
    """Use the file of another queue."""
    app(folder, secret_key=KEY).enqueue("math.sqrt", 4)
    app(folder, secret_key=KEY, name="other").enqueue("math.sqrt", 4)


def no_result(folder: Path) -> None:
    """Ask for a result that nobody makes."""
    app(folder).enqueue("math.sqrt", 4).result()


@pytest.mark.parametrize(
    ("mistake", "error", "remedy"),
    [
        (lost_key, ConfigError, "or start over with 'qcore purge --everything'"),
        (no_key_file, ConfigError, "make a new one with 'qcore keys new --write /nowhere/key'"),
        (lambda path: app(path, worker=3), ConfigError, "worker: unknown setting; did you mean 'workers'?"),
        (
            lambda path: app(path, broker="redis"),
            ConfigError,
            "a broker is chosen by its section, such as redis",
        ),
        (other_queue, BackendRejected, "or `sqlite.path` to another file for 'other'"),
        (lambda path: app(path).queue.size(), QueueMissing, "check the path if there should be one"),
        (no_result, ResultNotReady, "no cluster works on it; qcore run starts one"),
        (lambda path: app(path).enqueue(lambda: 1), TaskNameError, "define it at the top level of a module"),
    ],
)
def test_the_last_line_says_what_happened_and_what_to_do(
    tmp_path: Path, mistake: Callable[[Path], object], error: type[Exception], remedy: str
) -> None:
    """It begins with the class; no other traceback of qcore's own stands before it."""
    with pytest.raises(error) as caught:
        mistake(tmp_path)

    told = "".join(traceback.format_exception(caught.value)).rstrip().splitlines()
    assert told[-1].startswith(f"qcore.errors.{error.__name__}: ")
    assert remedy in told[-1]
    assert sum(line.startswith("Traceback") for line in told) == 1

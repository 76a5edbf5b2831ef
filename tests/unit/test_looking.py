"""Whoever only looks makes nothing: neither a queue nor a key nor a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Config
from qcore.cli.exit_codes import Exit
from qcore.errors import QueueMissing
from qcore.model import State, StoredResult
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.portable

ID: Final = "0" * 32
#: every verb that acts on what is there
VERBS: Final = (
    ("info",),
    ("info", "--ids"),
    ("info", "--config"),
    ("health", "--stalled-after", "0"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "1"),
    ("dead-letters", "requeue", "--all"),
    ("dead-letters", "drop", "--all", "--yes"),
    ("schedule", "list"),
    ("schedule", "preview", "nightly"),
    ("schedule", "update", "nightly", "--every", "5"),
    ("schedule", "pause", "nightly"),
    ("schedule", "resume", "nightly"),
    ("schedule", "run", "nightly"),
    ("schedule", "delete", "nightly", "--yes"),
    ("result", ID),
    ("result", ID[:6]),
    ("result", ID, "--wait", "0.1"),
    ("status", ID),
    ("cancel", ID),
    ("group", "show", "fruit"),
    ("group", "delete", "fruit", "--yes"),
    ("pause",),
    ("resume",),
    ("purge", "--yes"),
)
#: every method of an App that does
METHODS: Final[dict[str, Callable[[App], object]]] = {
    "status": lambda app: app.status(ID),
    "cancel": lambda app: app.cancel(ID),
    "queue.size": lambda app: app.queue.size(),
    "queue.purge": lambda app: app.queue.purge(),
    "queue.pause": lambda app: app.queue.pause(),
    "queue.resume": lambda app: app.queue.resume(),
    "queue.is_paused": lambda app: app.queue.is_paused(),
    "results.get": lambda app: app.results.get(ID),
    "results.fetch": lambda app: app.results.fetch(ID, 0.1),
    "results.fetch_many": lambda app: app.results.fetch_many([ID]),
    "results.delete": lambda app: app.results.delete(ID),
    "results.get_group": lambda app: app.results.get_group("fruit"),
    "results.fetch_group": lambda app: app.results.fetch_group("fruit"),
    "results.count_group": lambda app: app.results.count_group("fruit"),
    "results.delete_group": lambda app: app.results.delete_group("fruit"),
    "schedules.list": lambda app: app.schedules.list(),
    "schedules.get": lambda app: app.schedules.get("nightly"),
    "schedules.preview": lambda app: app.schedules.preview("nightly"),
    "schedules.update": lambda app: app.schedules.update("nightly", every=5),
    "schedules.pause": lambda app: app.schedules.pause("nightly"),
    "schedules.resume": lambda app: app.schedules.resume("nightly"),
    "schedules.run": lambda app: app.schedules.run("nightly"),
    "schedules.delete": lambda app: app.schedules.delete("nightly"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a configuration that names a queue in a folder below it."""
    (tmp_path / "qcore.toml").write_text('sqlite.path = "data/queue.db"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder: Path) -> set[str]:
    """Return what a folder contains."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def qcore(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and all it said."""
    code, out, err = typed(capsys, *arguments)
    return code, out + err


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_verb_finds_no_queue_and_makes_none(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    """A misspelt path is told, and the folder stays as it was."""
    before = everything(folder)

    code, told = qcore(capsys, *verb)

    assert before == everything(folder)
    assert f"there is no queue at {folder}/data/queue.db yet" in told
    assert code == Exit.UNAVAILABLE


@pytest.mark.parametrize("method", METHODS)
def test_method_finds_no_queue_and_makes_none(folder: Path, method: str) -> None:
    """The same holds for a program."""
    before = everything(folder)
    app = App()

    with pytest.raises(QueueMissing, match=r"there is no queue at .*/data/queue\.db yet"):
        METHODS[method](app)

    app.close()
    assert before == everything(folder)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_verb_leaves_no_file_beside_a_queue(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    """SQLite's own files end with the command."""
    qcore(capsys, "enqueue", "math.sqrt", "4")
    before = everything(folder)

    qcore(capsys, *verb)

    assert before | {"data/queue.db-done"} == everything(folder) | {"data/queue.db-done"}
    assert {"data/queue.db", "data/queue.key"} < before


def test_doctor_makes_no_queue(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that there is none yet, which is not a fault."""
    before = everything(folder)

    code, told = qcore(capsys, "doctor")

    assert before == everything(folder)
    assert f"there is no queue at {folder}/data/queue.db yet" in told
    assert code == Exit.OK


def test_what_puts_something_in_makes_the_queue(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule needs a place as well."""
    assert qcore(capsys, "schedule", "create", "nightly", "math.sqrt", "4", "--every", "5")[0] == Exit.OK

    assert {"data/queue.db", "data/queue.key"} < everything(folder)


def beside(folder: Path) -> App:
    """Return an App whose queue is elsewhere, and whose results are in a file below a folder."""
    return App(
        Config.from_dict(
            {
                "memory": {},
                "secret_key": "the key of this test and of no other",
                "result_store": "sqlite",
                "sqlite": {"path": str(folder / "data" / "results.db")},
            }
        )
    )


def test_a_store_beside_a_queue_elsewhere_is_empty_until_it_is_written(tmp_path: Path) -> None:
    """A program waits for a result before a cluster has run on its machine; the queue is there."""
    app = beside(tmp_path)

    assert app.results.fetch(ID, 0.1) is None
    assert app.status(ID).state == "unknown"
    assert app.results.fetch_group("fruit") == []
    assert app.schedules.list() == []
    assert everything(tmp_path) == set()
    app.close()


def test_a_store_beside_a_queue_elsewhere_is_made_by_the_first_write(tmp_path: Path) -> None:
    """By this process or another; whoever has looked before sees what was written."""
    looks, writes = beside(tmp_path), beside(tmp_path)
    kept = StoredResult(bytes(16), State.SUCCESS, b"body", "a.task", None, 1.0)
    with looks.runtime.stores.connection() as seen, writes.runtime.stores.connection() as store:
        assert seen.get([kept.id]) == store.get([kept.id]) == [None]
        assert everything(tmp_path) == set()
        waiting = ThreadPoolExecutor(1).submit(seen.wait, kept.id, 45.0)

        store.save([kept])

        assert waiting.result() == kept
        assert seen.get([kept.id]) == store.get([kept.id]) == [kept]
    assert {"data/results.db", "data/results.db-done"} < everything(tmp_path)
    looks.close()
    writes.close()


def test_nothing_is_moved_from_nowhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt source is an error, and the target is not made for it."""
    before = everything(folder)

    code, told = qcore(capsys, "move", "--from", "sqlite:qeue.db", "--to", "sqlite:new.db")

    assert before == everything(folder)
    assert f"there is no queue at {folder}/qeue.db yet" in told
    assert code == Exit.UNAVAILABLE


def test_another_folder_than_that_of_the_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks from the wrong folder is told that no setting names the place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    code, told = qcore(capsys, "info")

    assert code == Exit.UNAVAILABLE
    assert "no setting names another path; if there should be one, run this below your qcore.toml" in told


def test_an_empty_file_is_not_a_queue(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables are made by whoever puts something in."""
    (folder / "data").mkdir()
    (folder / "data" / "queue.db").touch()

    assert "there is no queue at" in qcore(capsys, "info")[1]
    assert (folder / "data" / "queue.db").stat().st_size == 0


@pytest.mark.parametrize(
    "act", [lambda app: app.enqueue("math.sqrt", 4), lambda app: app.runtime.make_broker()]
)
def test_the_key_is_made_before_the_queue(folder: Path, act: Callable[[Any], object]) -> None:
    """A queue without its key is one whose key was lost."""
    app = App(Config.load())

    act(app)
    app.close()

    key, queue = folder / "data" / "queue.key", folder / "data" / "queue.db"
    assert key.stat().st_ctime_ns <= queue.stat().st_ctime_ns

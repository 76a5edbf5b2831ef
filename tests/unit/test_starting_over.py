"""`qcore purge --everything` leaves nothing of a queue, and mends one whose key was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore import App, Config
from qcore.cli.exit_codes import Exit
from qcore.errors import QcoreError
from qcore.model import Action, QueueSize, Settlement
from qcore.testing import inline
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Return a producer on a queue with a bit of everything."""
    (tmp_path / "qcore.toml").write_text('sqlite.path = "queue.db"\n')
    monkeypatch.chdir(tmp_path)
    app = App(Config.load())
    with inline(app):
        app.enqueue("math.sqrt", 4)
    app.enqueue("math.sqrt", 1)
    app.enqueue("math.sqrt", 2)
    app.async_task("math.sqrt", 3)
    app.schedules.create("math.sqrt", 4, name="nightly", every=5)
    app.queue.pause()
    with app.runtime.brokers.connection() as broker:
        one, _ = broker.lease(2, 0)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="it failed")])
    assert app.queue.size() == QueueSize(ready=1, leased=1, delayed=0, dead_letters=1)
    return app


def qcore(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and all it said."""
    code, out, err = typed(capsys, *arguments)
    return code, out + err


def test_everything_is_removed(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Messages of every state, results, schedules and flags."""
    code, told = qcore(capsys, "purge", "--everything", "--yes")

    assert (code, told) == (Exit.OK, "3 messages, 1 result, 1 schedule removed\n")
    assert app.queue.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
    assert not app.schedules.list()
    assert not app.queue.is_paused()
    with app.runtime.stores.connection() as store:
        assert not store.counts()
    app.enqueue("math.sqrt", 5)
    assert app.queue.size().ready == 1


def test_it_is_asked_for(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nobody can answer, and nothing is removed."""
    code, told = qcore(capsys, "purge", "--everything")

    assert code == Exit.USAGE
    assert "give --yes" in told
    assert app.queue.size().ready == 1


def test_a_queue_that_is_worked_on_is_left_alone(app: App) -> None:
    """A worker would settle what it holds, and store results."""
    with app.runtime.brokers.connection() as broker:
        broker.publish_status("x", b"sealed", 15.0)

    with pytest.raises(QcoreError, match=r"^1 cluster on the queue 'default' published a status"):
        app.queue.clear()

    assert app.queue.size().ready == 1


def test_a_lost_key_is_made_anew(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names this command, and after it the queue can be used."""
    app.close()
    old = (tmp_path / "queue.key").read_text()
    (tmp_path / "queue.key").unlink()
    code, told = qcore(capsys, "enqueue", "math.sqrt", "4")
    assert code == Exit.CONFIG
    assert "'qcore purge --everything'" in told

    code, told = qcore(capsys, "purge", "--everything", "--yes")

    assert code == Exit.OK
    assert f"a new key is in {tmp_path}/queue.key" in told
    assert (tmp_path / "queue.key").read_text() != old
    assert qcore(capsys, "enqueue", "math.sqrt", "4")[0] == Exit.OK


def test_nothing_is_made_to_be_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt path is told."""
    (tmp_path / "other.toml").write_text('sqlite.path = "nothing.db"\n')

    code, told = qcore(capsys, "--config", str(tmp_path / "other.toml"), "purge", "--everything", "--yes")

    assert code == Exit.UNAVAILABLE
    assert "there is no queue at" in told
    assert [path.name for path in tmp_path.iterdir()] == ["other.toml"]

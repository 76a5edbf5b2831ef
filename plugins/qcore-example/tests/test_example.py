"""What only this plugin does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import ErrorReport, Settings
from qcore.model import Outgoing, TaskInfo
from qcore_example import FileReporter, SpoolBroker, SpoolSettings, plugin

if TYPE_CHECKING:
    from pathlib import Path


def broker(path: Path, name: str = "mail") -> SpoolBroker:
    """Return a broker of the queue `name` in the folder `path`."""
    return SpoolBroker(Settings(name=name, sections={"spool": SpoolSettings(path=path)}))


def test_the_plugin_offers_a_broker_by_its_key(tmp_path: Path) -> None:
    """The key of the settings selects the broker of the same name."""
    settings = Settings(name="mail", sections={"spool": SpoolSettings(path=tmp_path)})

    assert plugin.qcore_settings().keys() == plugin.qcore_brokers().keys()
    assert isinstance(plugin.qcore_brokers()["spool"](settings), SpoolBroker)


def test_the_plugin_offers_a_reporter_with_a_path(tmp_path: Path) -> None:
    """The user's settings of a reporter are the arguments of its factory."""
    path = tmp_path / "failures.jsonl"
    reporter = plugin.qcore_error_reporters()["example"](path=str(path))

    fields = {"kind": "failure", "summary": "WorkerDied: by itself"}
    task, error = TaskInfo(id="ab", name="shop.pay", attempt=2), ValueError("no")
    reporter.report(ErrorReport(task=task, text="line\nline", error=error, **fields))
    reporter.report(ErrorReport(task=TaskInfo(id="cd", name="shop.pay"), text="died", **fields))

    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "id": "ab",
        "name": "shop.pay",
        "attempt": 2,
        "error": "ValueError",
        "text": "line\nline",
    }
    assert second["error"] == "WorkerDied"


def test_a_reporter_that_cannot_write_raises(tmp_path: Path) -> None:
    """Qcore counts and logs what a reporter raises."""
    reporter = FileReporter(str(tmp_path / "missing" / "file"))
    report = ErrorReport(
        task=TaskInfo(id="ab", name="shop.pay"), kind="crash", summary="X: died", text="died"
    )

    with pytest.raises(FileNotFoundError):
        reporter.report(report)


def test_queues_of_different_names_are_separate(tmp_path: Path) -> None:
    """A queue has only its own messages, whatever its name is."""
    for name in ("one", "..", "a:b"):
        broker(tmp_path / "spool", name).enqueue([Outgoing(bytes(16), name.encode())])

    assert [delivery.body for delivery in broker(tmp_path / "spool", "..").lease(5, 0.0)] == [b".."]
    assert [entry.name for entry in tmp_path.iterdir()] == ["spool"]


def test_a_file_instead_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A permanent error is raised as BackendRejected and names the folder."""
    (tmp_path / "spool").write_text("not a folder")

    with pytest.raises(BackendRejected, match="cannot use the spool "):
        broker(tmp_path / "spool")


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    """An error that may pass is raised as BackendUnavailable: the folder may be mounted again."""
    made = broker(tmp_path / "spool")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")

    with pytest.raises(BackendUnavailable):
        made.lease(1, 0.0)
    with pytest.raises(BackendUnavailable, match="create or mount it"):
        made.ping()

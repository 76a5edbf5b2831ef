"""What the workers and the supervisor of a cluster report."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Retry
from qcore.cli.info import lines_of
from qcore.cli.overview import look
from qcore.model import Outgoing
from tests.integration import tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.land import Land

SOURCE = """
import json
from qcore.hookspecs import hookimpl
from qcore.interfaces import ErrorReporter

class Diary(ErrorReporter):
    def qcore_pre_execute(self, event): self.note(ran=event.task.name)
    def report(self, report):
        told = {{name: getattr(report, name) for name in
            ("kind", "summary", "text", "action", "stack", "cluster", "label", "worker")}}
        task = report.task
        self.note(**told, name=task.name, attempt=task.attempt, id=task.id, error=repr(report.error))
    def note(self, **fields):
        with open({diary!r}, "a") as file:
            file.write(json.dumps(fields) + "\\n")
    def flush(self, seconds): self.note(flushed=True)

@hookimpl
def qcore_error_reporters(): return {{"diary": Diary}}
"""


@pytest.fixture
def diary(land: Land, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that an installed reporter writes to."""
    path = land.file("reports")
    (land.folder / "diary_plugin.py").write_text(SOURCE.format(diary=str(path)))
    info = land.folder / "diary-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qcore]\ndiary = diary_plugin\n")
    monkeypatch.syspath_prepend(str(land.folder))
    yield path
    sys.modules.pop("diary_plugin", None)


def told(path: Path, **fields: object) -> list[dict[str, Any]]:
    """Return the reports that have these fields."""
    found = [json.loads(line) for line in lines(path)]
    return [one for one in found if all(one.get(name) == value for name, value in fields.items())]


def test_a_cluster_reports_failures_with_what_follows_them(land: Land, diary: Path) -> None:
    """Each failed run says whether another follows, and who ran it; what never ran is reported too."""
    app, cluster = land.both(workers=1, error_reporter={"diary": {}}, max_attempts=1, label="blue")
    twice = Retry(max_attempts=2, backoff=0.01)
    again = app.task(name="tests.integration.tasks.fail", retry=twice)(tasks.fail)

    job = again.enqueue("secret-argument")
    assert final(job).state.name == "FAILED"
    final(app.enqueue("tests.integration.tasks.missing"))
    final(app.enqueue(tasks.unwritable, "lock"))
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(b"\1" * 16, b"rubbish")])

    first, second = until(lambda: (found := told(diary, id=job.id)) and len(found) == 2 and found)
    assert (first["action"], first["attempt"]) == ("retry", 1)
    assert (second["action"], second["attempt"]) == ("dead_letter", 2)
    assert (first["kind"], first["cluster"], first["label"]) == ("failure", "land", "blue")
    assert first["error"].startswith("RuntimeError(")
    assert "in fail" in first["text"]
    assert first["worker"].endswith(f":{final(job).worker.split(':')[1]}")
    (missing,) = until(lambda: told(diary, name="tests.integration.tasks.missing"))[-1:]
    assert missing["summary"].startswith("TaskNotFound: ")
    assert until(lambda: told(diary, name="tests.integration.tasks.unwritable"))[0]["kind"] == "unsavable"
    until(lambda: told(diary, kind="rejected"))
    assert told(diary, ran="tests.integration.tasks.fail")
    # The counts are published with the next status.
    until(lambda: "error reports made, 0 lost" in "\n".join(lines_of(look(app))))
    cluster.stop()
    assert told(diary, flushed=True)


def test_the_supervisor_reports_what_a_worker_cannot(land: Land, diary: Path) -> None:
    """A task that had to be killed is reported with the stack of where it hung, a crash with its cause."""
    reporters = {"diary": {"report_on": "final"}}
    app, _ = land.both(workers=1, error_reporter=reporters, max_attempts=1, timeout=0.3)

    hung = app.enqueue(tasks.stubborn, str(land.file()))
    result = final(hung)
    die = app.task(name="tests.integration.tasks.die", max_crashes=1)(tasks.die)
    died = final(die.enqueue("kill"))

    assert (result.kind, died.kind) == ("timeout", "crash")
    (report,) = until(lambda: told(diary, id=hung.id))
    assert report["summary"] == "TaskTimeout: the task ran longer than its timeout of 0.3 seconds"
    assert report["stack"][-1][2] == "stubborn"
    assert ", in stubborn" in report["text"]
    assert ", in stubborn" in result.traceback
    (crash,) = until(lambda: told(diary, name="tests.integration.tasks.die"))
    assert crash["summary"].startswith("WorkerDied: its worker process was killed by SIGKILL")
    assert (crash["kind"], crash["action"]) == ("crash", "dead_letter")


def test_a_disabled_schedule_is_reported(land: Land, diary: Path) -> None:
    """Whoever finds out, a worker or the supervisor."""
    app, _ = land.both(workers=1, error_reporter={"diary": {}}, max_attempts=1)

    app.schedules.create("tests.integration.tasks.gone", name="nightly", minutes=1)

    (report,) = until(lambda: told(diary, kind="schedule"))
    assert report["text"].startswith("schedule 'nightly': TaskNotFound: ")
    assert report["action"] == ""

"""Plugins in real workers: hooks, error reporters, broker_class, log_level."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore.cluster import boot_of, check_backends
from qcore.errors import StartFailed
from qcore.model import Outgoing, QueueSize
from qcore.plugins import Plugins
from tests.integration import tasks
from tests.integration.land import final, finals, lines, until, worker_pids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.land import Land

SOURCE = """
import json, os, time
from qcore_sqlite.broker import SqliteBroker
from qcore.errors import BackendRejected, BackendUnavailable, SkipTask
from qcore.hookspecs import hookimpl
from qcore.interfaces import ErrorReporter

def note(*what):
    with open({diary!r}, "a") as file:
        file.write(json.dumps([*what, os.getpid()]) + "\\n")

@hookimpl
def qcore_cluster_start(event): note("cluster start", event.status.name)
@hookimpl
def qcore_cluster_status(event):
    if event.status.finished: note("cluster status", event.config.name, event.status.counts.started)
@hookimpl
def qcore_cluster_stop(event): note("cluster stop", event.status.finished)
@hookimpl
def qcore_worker_start(event): note("worker start", event.pid)
@hookimpl
def qcore_worker_stop(event): note("worker stop", event.pid)
@hookimpl
def qcore_pre_enqueue(event):
    event.headers["trace"] = "t-" + event.task.name
    if event.task.kwargs.get("value") == "not sent":
        raise SkipTask("not sent")
@hookimpl
def qcore_pre_execute(event):
    note("before", event.task.headers.get("trace"), event.task.attempt)
    if event.task.args and event.task.args[0] == "skip":
        raise SkipTask("not today")
    if event.task.args and event.task.args[0] == "broken hook":
        raise RuntimeError("the hook's own fault")
@hookimpl
def qcore_post_execute(event): note("after", event.outcome.kind.value, event.task.id)
@hookimpl
def qcore_settled(event): note("settled", event.action, event.kind)
@hookimpl
def qcore_rejected(event): note("rejected", event.size)

class Diary(ErrorReporter):
    def __init__(self, title): self.title = title
    def report(self, report): note(self.title, report.task.name, report.error_type, report.action)
    def flush(self, seconds): note("flush", self.title)

class Broken(ErrorReporter):
    def report(self, report): raise RuntimeError("the reporter's own fault")
    def flush(self, seconds): raise RuntimeError("again")

@hookimpl
def qcore_error_reporters(): return {{"diary": Diary, "broken": Broken}}

class Absent(SqliteBroker):
    def __init__(self, settings):
        if os.environ["PROGRAM"] != str(os.getpid()):
            raise BackendUnavailable("no broker today")
        super().__init__(settings)

class Late(SqliteBroker):
    def ping(self): raise BackendUnavailable("no broker yet")
    def info(self): self.ping()

class Polling(SqliteBroker):
    def __init__(self, settings):
        super().__init__(settings)
        self._poll = settings.poll
    def lease(self, limit, wait):
        end = time.monotonic() + wait
        while True:
            note("look", time.monotonic(), end)
            found = super().lease(limit, 0)
            if found or time.monotonic() >= end:
                return found
            time.sleep(self._poll)

class Refusing(SqliteBroker):
    def commit_and_lease(self, store, results, settlements, *rest):
        if settlements and not os.path.exists({diary!r} + ".taken"):
            note("refused")
            raise BackendRejected("this one is never taken")
        return super().commit_and_lease(store, results, settlements, *rest)
"""


@pytest.fixture
def diary(land: Land, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that an installed plugin writes to."""
    path = land.file("diary")
    (land.folder / "stranger_plugin.py").write_text(SOURCE.format(diary=str(path)))
    info = land.folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qcore]\nstranger = stranger_plugin\n")
    monkeypatch.syspath_prepend(str(land.folder))
    yield path
    sys.modules.pop("stranger_plugin", None)


def entries(path: Path) -> list[list[Any]]:
    """Return what was noted, without the process ids."""
    return [json.loads(line)[:-1] for line in lines(path)]


def titles(path: Path) -> list[str]:
    """Return the kinds of what was noted."""
    return [entry[0] for entry in entries(path)]


def test_hooks_of_an_installed_plugin_run_in_their_processes(land: Land, diary: Path) -> None:
    """Every lifecycle hook is called, in producer, worker or supervisor, in its order."""
    app, cluster = land.both(workers=1)
    supervisor, (worker,) = cluster.pid, worker_pids(cluster)

    job = app.enqueue(tasks.add, 1, 2)
    assert job.result(wait=100) == 3
    cluster.stop()

    name = "tests.integration.tasks.add"
    published = ["cluster status", "land", 1]
    assert published in entries(diary)
    assert [one for one in entries(diary) if one != published] == [
        ["worker start", worker],
        ["cluster start", "land"],
        ["before", f"t-{name}", 1],
        ["after", "success", job.id],
        ["settled", "ack", "success"],
        ["worker stop", worker],
        ["cluster stop", 1],
    ]
    pids = [json.loads(line)[-1] for line in lines(diary) if "cluster status" not in line]
    assert pids == [worker, supervisor, worker, worker, worker, worker, supervisor]


def test_hook_may_leave_a_task_out_and_its_own_faults_hurt_nobody(land: Land, diary: Path) -> None:
    """SkipTask has a meaning; anything else a hook raises is the hook's own matter."""
    app, _ = land.both(workers=1)

    skipped = final(app.enqueue(tasks.echo, "skip"))
    fine = final(app.enqueue(tasks.echo, "broken hook"))
    unsent = app.enqueue(tasks.echo, value="not sent")

    assert skipped.error == "SkipTask: not today"
    assert fine.value == "broken hook"
    assert unsent.fetch() is None
    assert app.queue.size().ready == 0
    assert "ack" in [entry[1] for entry in entries(diary) if entry[0] == "settled" and entry[2] == "skipped"]


def test_crash_and_refusal_are_told_to_hooks(land: Land, diary: Path) -> None:
    """What the supervisor settles for a dead worker, and what is dead-lettered unread, is reported too."""
    app, _ = land.both(workers=1, max_crashes=1)
    final(app.enqueue(tasks.die, "kill"))
    until(lambda: ["settled", "dead_letter", "crash"] in entries(diary))
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(b"\1" * 16, b"rubbish")])

    until(lambda: ["rejected", 7] in entries(diary))


def test_error_reporters_are_told_of_every_failure_and_cannot_hurt(land: Land, diary: Path) -> None:
    """Failures, timeouts and crashes are reported with the reporter's own settings."""
    reporters = {"broken": {}, "diary": {"title": "dear diary"}, "log": {}}
    app, cluster = land.both(
        workers=1, error_reporter=reporters, ack_failures=True, max_crashes=1, timeout=0.4
    )

    results = finals(
        [
            app.enqueue(tasks.fail),
            app.enqueue(tasks.nap, 30),
            app.enqueue(tasks.add, 1, 1),
        ]
    )
    # A worker that is killed may take a report with it.
    until(lambda: "TaskTimeout" in diary.read_text())
    final(app.enqueue(tasks.die, "kill"))
    cluster.stop()

    assert results[2].value == 2
    told = [entry[1:] for entry in entries(diary) if entry[0] == "dear diary"]
    # The last is told by the supervisor, and each process has a thread for its reports.
    assert sorted(told) == [
        ["tests.integration.tasks.die", "WorkerDied", "dead_letter"],
        ["tests.integration.tasks.fail", "RuntimeError", "ack"],
        ["tests.integration.tasks.nap", "TaskTimeout", "ack"],
    ]
    assert "flush" in titles(diary)


@pytest.mark.portable
def test_broker_class_is_used_and_told_how_often_to_look(land: Land, diary: Path) -> None:
    """`broker_class` replaces the plugin's broker, and `poll` is how long it waits between looks."""
    app, _ = land.both(workers=1, broker_class="stranger_plugin.Polling", poll=0.3)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2

    def pauses() -> list[float]:
        """Return the seconds between two looks of one call."""
        looks = [entry[1:] for entry in entries(diary) if entry[0] == "look"]
        return [after - before for (before, call), (after, same) in itertools.pairwise(looks) if same == call]

    count = len(pauses())
    until(lambda: len(pauses()) >= count + 3)

    assert all(pause >= 0.3 for pause in pauses())


@pytest.mark.portable
def test_worker_goes_on_when_its_broker_refuses_a_settlement(land: Land, diary: Path) -> None:
    """What is not settled comes back when its lease ends; the worker is there to take it."""
    app, _ = land.both(workers=1, broker_class="stranger_plugin.Refusing", timeout=1, retry=2)

    refused = app.enqueue(tasks.pid)
    until(lambda: titles(diary).count("refused") >= 4, "it to come back and be refused again")
    diary.with_name("diary.taken").touch()
    until(lambda: app.queue.size() == QueueSize(0, 0, 0, 0), "it to be settled")

    assert refused.result(wait=100) == app.enqueue(tasks.pid).result(wait=100)
    assert "worker stop" not in titles(diary)


@pytest.mark.portable
def test_cluster_that_waits_for_its_broker_can_be_stopped(
    land: Land, diary: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Workers without a broker go on trying, and leave quietly when told to."""
    monkeypatch.setenv("PROGRAM", str(os.getpid()))
    told: list[str] = []
    # servers of other tests, which are to go on
    before = set(psutil.Process().children())

    def log() -> str:
        told.append(capfd.readouterr().err)
        return "".join(told)

    with ThreadPoolExecutor() as pool:
        starting = pool.submit(land.cluster, workers=1, broker_class="stranger_plugin.Absent")
        until(lambda: "worker 0 waits" in log(), "the worker to be refused")
        for child in set(psutil.Process().children()) - before:
            child.terminate()
        with pytest.raises(StartFailed):
            starting.result(45)

    assert "no broker today" in log()
    assert "could not continue" not in log()


@pytest.mark.portable
def test_cluster_starts_while_its_broker_does_not_answer(land: Land, diary: Path) -> None:
    """Whoever starts it hears why the broker says nothing of itself; workers wait for it."""
    app, cluster = land.both(workers=1, broker_class="stranger_plugin.Late")

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    assert check_backends(cluster.config) == "no broker yet; workers wait for it"


def test_plugin_that_is_switched_off_is_not_loaded(
    land: Land, diary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`QCORE_DISABLE_PLUGINS` holds in producers, supervisor and workers."""
    monkeypatch.setenv("QCORE_DISABLE_PLUGINS", "stranger")
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2

    assert lines(diary) == []


def test_plugin_whose_dependency_is_missing_does_not_stop_the_rest(land: Land, diary: Path) -> None:
    """A broken plugin is complained of when it is asked for, and work goes on without it."""
    (land.folder / "stranger_plugin.py").write_text("import a_module_that_is_not_installed\n")
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    (broken,) = [plugin for plugin in Plugins.discover().listing() if plugin.name == "stranger"]
    assert "a_module_that_is_not_installed" in (broken.broken or "")


@pytest.mark.portable
@pytest.mark.parametrize(("level", "told"), [("DEBUG", True), ("INFO", True), ("ERROR", False)])
def test_log_level_is_the_least_that_is_logged(land: Land, level: str, told: bool) -> None:
    """Supervisor and workers write at `log_level` and above to standard error."""
    program = (
        "from qcore import App, Cluster, Config\n"
        f"config = Config.from_dict({land.settings(log_level=level, preload=[])!r})\n"
        "with Cluster(config): App(config).enqueue('math.sqrt', 4).result(wait=100)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=150, check=True
    )

    assert ("cluster land is ready" in done.stderr) is told
    assert ("DEBUG" in done.stderr) is (level == "DEBUG")


@pytest.mark.parametrize(
    ("more", "imports"),
    [
        ({}, ["qcore_sqlite.broker", "qcore_sqlite.results", "qcore_sqlite.coordination"]),
        # importing a program's own class is left to whoever needs it, and cannot hold up a supervisor
        ({"broker_class": "qcore_sqlite.broker.SqliteBroker"}, []),
    ],
)
def test_a_supervisor_is_told_what_its_zygote_will_need(
    land: Land, more: dict[str, str], imports: list[str]
) -> None:
    """It imports that once, so the two share the memory."""
    config = land.app(**more).config
    boot = boot_of(config)

    check_backends(config, None, boot)

    assert boot.imports == imports

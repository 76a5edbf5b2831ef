"""Whatever hangs, a cluster ends when it is stopped, and its log says what hung."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore import Cluster, Config, State
from qcore.errors import ClusterError, StartFailed
from tests.integration import tasks
from tests.integration.land import alive, final, finals, kill, lines, until, worker_pids, zygote_pid

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.land import Land
    from tests.integration.service import Service

#: seconds beyond `shutdown_timeout` in which a cluster has ended, on a machine under load
BOUND = 25.0

#: what a plugin does that hangs wherever a file of that name exists
PLUGIN = """
import os, time
from qcore.hookspecs import hookimpl
from qcore_sqlite.broker import SqliteBroker
from qcore_sqlite.schedules import SqliteSchedules

def hang(where):
    while os.path.exists(f"{folder}/hang {{where}}"):
        open(f"{folder}/hangs {{where}}", "w").close()
        time.sleep(0.02)

@hookimpl
def qcore_cluster_start(event): hang("start")
@hookimpl
def qcore_cluster_stop(event): hang("stop")

class Slow(SqliteBroker):
    def publish_status(self, *args):
        hang("publish")
        super().publish_status(*args)
    def extend(self, *args):
        hang("extend")
        super().extend(*args)
    def enqueue(self, *args):
        hang("enqueue")
        super().enqueue(*args)

claim = SqliteSchedules.claim_due
def claim_due(*args):
    hang("claim_due")
    return claim(*args)
SqliteSchedules.claim_due = claim_due
"""
THREADS = """
import threading
open("imported", "a").write(f"{os.getpid()}\\n")
threading.Thread(target=time.sleep, args=(600,), name="metrics").start()
"""
STUCK = """
open("importing", "a").write(f"{os.getpid()}\\n")
while os.path.exists("stuck"):
    time.sleep(0.02)
"""
FORKS = """
def before_fork():
    while os.path.exists("stuck"):
        open("forking", "w").close()
        time.sleep(0.02)

os.register_at_fork(before=before_fork)
"""


def extend_module(service: Service, text: str) -> None:
    """Add lines to the user's module."""
    with (service.folder / "shop.py").open("a") as file:
        file.write(text)


def install(folder: Path) -> None:
    """Lay down the plugin that hangs."""
    (folder / "sleeper.py").write_text(PLUGIN.format(folder=folder))
    info = folder / "sleeper-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeper\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qcore]\nsleeper = sleeper\n")


def family(pid: int) -> list[psutil.Process]:
    """Return the zygote and the workers of a supervisor."""
    return psutil.Process(pid).children(recursive=True)


def ended(process: subprocess.Popen[bytes], pids: list[int]) -> int:
    """Wait until a cluster has ended, and return its exit status."""
    status = process.wait(BOUND)
    until(lambda: not any(alive(pid) for pid in pids), "all its processes to end")
    return status


def troubles(cluster: Cluster) -> tuple[str, ...]:
    """Return what the cluster says is wrong."""
    return cluster.status().troubles


@pytest.fixture
def hanging(service: Service) -> Iterator[Service]:
    """Return a program whose module, or the plugin it has installed, hangs as long as files say so."""
    install(service.folder)
    yield service
    for file in service.folder.glob("hang *"):
        file.unlink()


# -- the user's module --------------------------------------------------------------------------


def test_a_thread_of_the_users_module_does_not_outlive_the_cluster(service: Service) -> None:
    """The supervisor does not import the module, so no thread of it keeps the supervisor alive."""
    extend_module(service, THREADS)
    process = service.start("run", "shop:app", "--config", "served.toml")
    pids = [one.pid for one in family(process.pid)]
    assert service.call("add", 2, 3) == 5

    process.send_signal(signal.SIGTERM)

    assert ended(process, pids) == 0
    assert str(process.pid) not in lines(service.folder / "imported")
    assert len(lines(service.folder / "imported")) == 1
    assert "is killed" not in service.log()


def test_a_thread_of_a_module_that_fails_does_not_keep_the_command(service: Service) -> None:
    """The mistake is told at once, and the command ends."""
    extend_module(service, THREADS + "\nimport nothing_like_it\n")

    process = service.start("run", "shop:app", "--config", "served.toml")

    assert process.wait(BOUND) == 1
    assert "nothing_like_it" in service.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_module_that_hangs_at_import_does_not_hold_up_the_stop(
    service: Service, number: signal.Signals
) -> None:
    """SIGTERM and Ctrl-C end `qcore run` while it imports, and nothing runs on."""
    (service.folder / "stuck").touch()
    extend_module(service, STUCK)
    process = service.start("run", "shop:app", "--config", "served.toml", wait=service.folder / "importing")
    pids = [one.pid for one in family(process.pid)]
    assert str(process.pid) not in lines(service.folder / "importing")

    process.send_signal(number)

    ended(process, pids)


@pytest.mark.portable
def test_an_import_that_takes_long_is_named(service: Service) -> None:
    """Whoever waits for the cluster learns what it waits for."""
    (service.folder / "stuck").touch()
    extend_module(service, STUCK)
    service.start("run", "shop:app", "--config", "served.toml", wait=service.folder / "importing")

    until(lambda: "still imports your module 'shop'" in service.log(), "the import to be named")

    (service.folder / "stuck").unlink()
    until(lambda: "is ready" in service.log(), "the cluster to start all the same")


def test_a_preloaded_module_that_hangs_is_named_and_the_stop_goes_on(land: Land) -> None:
    """A program that gives up the start is told, and no process is left."""
    stuck, importing = land.file("stuck"), land.file("importing")
    stuck.touch()
    (land.folder / "hangs_at_import.py").write_text(
        f"import os, time\nopen({str(importing)!r}, 'w').close()\n"
        f"while os.path.exists({str(stuck)!r}):\n    time.sleep(0.02)\n"
    )
    cluster = Cluster(Config.from_dict(land.settings(preload=["hangs_at_import"])))
    found: list[BaseException] = []

    def start() -> None:
        try:
            cluster.start()
        except StartFailed as exc:
            found.append(exc)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(land.folder))
        thread = threading.Thread(target=start)
        thread.start()
        until(importing.exists, "the import to begin")
        began = time.monotonic()
        cluster.stop()
        thread.join(BOUND)

    assert time.monotonic() - began < BOUND
    assert not thread.is_alive()
    assert "was stopped before it was ready" in str(found[0])


# -- the fork server ----------------------------------------------------------------------------


def test_a_zygote_that_hangs_is_replaced_when_a_worker_dies(land: Land, capfd: Any) -> None:
    """The dead worker is noticed and replaced; only its own task is charged."""
    app, cluster = land.both(workers=2, max_crashes=5)
    gate = land.file("gate")
    dying, innocent = (app.enqueue(tasks.hold_on, str(land.file(name)), str(gate)) for name in "ab")
    until(lambda: lines(land.file("a")) and lines(land.file("b")), "both tasks to run")
    (victim,) = map(int, lines(land.file("a")))
    zygote = zygote_pid(cluster)

    os.kill(zygote, signal.SIGSTOP)
    kill(victim)
    until(lambda: len(lines(land.file("a"))) == 2 and len(lines(land.file("b"))) == 2, "both to run again")
    gate.touch()

    assert (final(dying).crashes, final(innocent).crashes) == (1, 0)
    assert not alive(zygote)
    assert "does not answer" in capfd.readouterr().err


def test_a_cluster_whose_zygote_hangs_can_be_stopped(land: Land, capfd: Any) -> None:
    """Workers are told to stop all the same; the task that runs may end."""
    app, cluster = land.both(workers=2)
    job = app.enqueue(tasks.nap, 1.0, str(land.file()))
    until(lambda: lines(land.file()), "the task to run")
    pids = [zygote_pid(cluster), *worker_pids(cluster)]

    os.kill(pids[0], signal.SIGSTOP)
    began = time.monotonic()
    cluster.stop(timeout=8)

    assert time.monotonic() - began < BOUND
    assert "has not ended within" not in capfd.readouterr().err
    assert not any(alive(pid) for pid in pids)
    assert final(job).success
    assert app.queue.size().leased == 0


def test_a_task_is_interrupted_at_its_timeout_though_the_zygote_hangs(land: Land) -> None:
    """Signals to workers do not go through the fork server."""
    app, cluster = land.both(workers=1, timeout=1, retry=30, max_attempts=1)
    zygote = zygote_pid(cluster)
    os.kill(zygote, signal.SIGSTOP)

    late = final(app.enqueue(tasks.nap, 60))
    os.kill(zygote, signal.SIGCONT)

    assert late.state is State.FAILED
    assert late.error.startswith("TaskTimeout")


def test_a_fork_that_hangs_is_given_up(service: Service) -> None:
    """A lock that nobody releases in the fork server costs a new fork server."""
    extend_module(service, FORKS)
    process = service.start("run", "shop:app", "--config", "served.toml")
    zygote, *workers = family(process.pid)
    (service.folder / "stuck").touch()

    kill(workers[0].pid)
    until((service.folder / "forking").exists, "the fork to hang")
    until(lambda: not alive(zygote.pid), "the fork server to be given up")
    until(lambda: "forks workers" in service.health(), "the probe to report it")
    (service.folder / "stuck").unlink()

    assert service.call("add", 2, 3) == 5
    until(lambda: service.health() == "healthy\n", "the probe to report that it is over")
    assert f"(pid {zygote.pid}) does not answer" in service.log()


def test_a_fork_that_hangs_does_not_hold_up_the_stop(service: Service) -> None:
    """Nor does the stop wait for a fork server that will never answer."""
    extend_module(service, FORKS)
    process = service.start("run", "shop:app", "--config", "served.toml")
    pids = [one.pid for one in family(process.pid)]
    (service.folder / "stuck").touch()
    kill(pids[1])
    until((service.folder / "forking").exists, "the fork to hang")

    process.send_signal(signal.SIGTERM)

    ended(process, pids)


def test_a_cluster_that_was_stopped_and_continued_as_a_whole_works_on(land: Land) -> None:
    """Ctrl-Z and fg: a fork server that stood still with its supervisor is not taken for one that hangs."""
    app, cluster = land.both(workers=2)
    supervisor, zygote, (victim, _) = cluster.pid or 0, zygote_pid(cluster), worker_pids(cluster)

    os.kill(zygote, signal.SIGSTOP)
    kill(victim)
    until(lambda: troubles(cluster), "the missing answer to be noticed")
    os.kill(supervisor, signal.SIGSTOP)
    # longer than a zygote may take while its supervisor runs
    threading.Event().wait(11)
    for pid in (supervisor, zygote):
        os.kill(pid, signal.SIGCONT)

    until(lambda: len(worker_pids(cluster)) == 2 and victim not in worker_pids(cluster), "a new worker")
    assert zygote_pid(cluster) == zygote
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    assert not troubles(cluster)


# -- workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "deaf"])
def test_a_worker_that_does_not_end_is_named_and_killed(land: Land, how: str, capfd: Any) -> None:
    """Frozen by a signal, or deaf to all of them: after `shutdown_timeout` its task goes back."""
    app, cluster = land.both(workers=1)
    path = str(land.file())
    job = app.enqueue(tasks.deaf, path) if how == "deaf" else app.enqueue(tasks.nap, 60, path)
    until(lambda: lines(land.file()), "the task to run")
    (worker,) = worker_pids(cluster)
    if how == "frozen":
        os.kill(worker, signal.SIGSTOP)

    began = time.monotonic()
    cluster.stop(timeout=1)

    assert time.monotonic() - began < BOUND
    assert not alive(worker)
    assert (app.queue.size().ready, app.queue.size().leased) == (1, 0)
    assert job.fetch() is None
    log = capfd.readouterr().err
    assert f"worker 0 (pid {worker}) has not ended within 1 second, because task" in log
    assert f"tests.integration.tasks.{'deaf' if how == 'deaf' else 'nap'}" in log


# -- plugins ------------------------------------------------------------------------------------


@pytest.mark.portable
@pytest.mark.parametrize(
    ("where", "named"),
    [("start", "qcore_cluster_start"), ("stop", "qcore_cluster_stop"), ("publish", "publish_status")],
)
def test_a_plugin_that_hangs_is_named_and_does_not_hold_up_the_stop(
    hanging: Service, where: str, named: str
) -> None:
    """A hook or a broker's call that never returns: the supervisor ends without it."""
    config = hanging.folder / "served.toml"
    text = config.read_text().replace("shutdown_timeout = 10", "shutdown_timeout = 2")
    config.write_text('broker_class = "sleeper.Slow"\n' + text)
    if where != "stop":
        (hanging.folder / f"hang {where}").touch()
    process = hanging.start(
        "run",
        "shop:app",
        "--config",
        "served.toml",
        wait=hanging.folder / "hangs start" if where == "start" else None,
    )
    pids = [one.pid for one in family(process.pid)]
    (hanging.folder / f"hang {where}").touch()

    process.send_signal(signal.SIGTERM)

    ended(process, pids)
    assert 'sleeper.py", line' in hanging.log()
    assert named in hanging.log()


@pytest.mark.portable
@pytest.mark.parametrize(
    ("where", "named"),
    [("extend", "leases are still being renewed"), ("claim_due", "schedules are still being fired")],
)
def test_a_thread_that_hangs_in_a_call_of_the_broker_is_named(
    hanging: Service, where: str, named: str
) -> None:
    """The threads that renew leases and fire schedules: the stop is bounded, and the log has the line."""
    config = hanging.folder / "served.toml"
    text = config.read_text().replace("shutdown_timeout = 10", "shutdown_timeout = 2")
    config.write_text('broker_class = "sleeper.Slow"\n' + text)
    hanging.app.enqueue("shop.wait_for", "gate")
    process = hanging.start("run", "shop:app", "--config", "served.toml")
    pids = [one.pid for one in family(process.pid)]
    (hanging.folder / f"hang {where}").touch()
    until((hanging.folder / f"hangs {where}").exists, "the call to hang")

    process.send_signal(signal.SIGTERM)

    assert ended(process, pids) == 0
    assert f"{named}; it is here:" in hanging.log()
    assert re.search(rf'sleeper.py", line \d+, in {where}', hanging.log())


def test_late_answers_of_a_supervisor_are_not_taken_for_later_ones(
    land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status is of the time at which it was asked for."""
    monkeypatch.setattr("qcore.cluster._ANSWER", 0.5)
    app, cluster = land.both(workers=1)
    os.kill(cluster.pid or 0, signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(ClusterError):
            cluster.status()
    monkeypatch.setattr("qcore.cluster._ANSWER", 45.0)
    os.kill(cluster.pid or 0, signal.SIGCONT)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2

    assert cluster.status().finished == 1


# -- the supervisor -----------------------------------------------------------------------------


def test_a_frozen_supervisor_is_killed_by_the_program_that_stops_it(land: Land) -> None:
    """`stop` returns, all processes of the cluster are gone, and what ran comes back."""
    app, cluster = land.both(workers=2, retry=2)
    gate = land.file("gate")
    job = app.enqueue(tasks.hold_on, str(land.file()), str(gate))
    until(lambda: lines(land.file()), "the task to run")
    pids = [cluster.pid or 0, zygote_pid(cluster), *worker_pids(cluster)]

    os.kill(pids[0], signal.SIGSTOP)
    with pytest.raises(ClusterError, match=f"supervisor {pids[0]} has not answered within 10 seconds"):
        cluster.status()
    began = time.monotonic()
    assert cluster.stop(timeout=1)

    assert time.monotonic() - began < BOUND
    until(lambda: not any(alive(pid) for pid in pids), "all of the cluster to end")
    gate.touch()
    land.cluster(retry=2)
    assert final(job).success


def test_workers_of_a_frozen_supervisor_work_on(land: Land) -> None:
    """What does not need it is done; what does is done once it goes on, and nothing runs twice."""
    app, cluster = land.both(workers=2, recycle=20, save_limit=0, max_crashes=1)
    supervisor = cluster.pid or 0

    land.freeze(supervisor)
    jobs = app.enqueue_many([app.task(tasks.pid).bind(str(land.file()))] * 100)
    until(lambda: len(lines(land.file())) >= 40, "both workers to have done what they may")
    os.kill(supervisor, signal.SIGCONT)

    assert all(result.success and result.attempts == 1 for result in finals(jobs))
    assert len(lines(land.file())) == 100


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_outlives_a_killed_qcore_run(service: Service, replaced: bool) -> None:
    """Neither the first fork server, which has imported the module, nor a later one; the task comes back."""
    process = service.start("run", "shop:app", "--config", "served.toml")
    zygote, *_ = family(process.pid)
    if replaced:
        kill(zygote.pid)
        until(lambda: len(found := family(process.pid)) == 3 and zygote not in found, "another fork server")
    pids = [one.pid for one in family(process.pid)]
    job = service.app.enqueue("shop.wait_for", str(service.folder / "go"))
    until((service.folder / "begun").exists, "the task to begin")

    process.kill()

    until(lambda: not any(alive(pid) for pid in pids), "all processes to end")
    (service.folder / "go").touch()
    service.start("run", "shop:app", "--config", "served.toml")
    assert final(job, wait=90).success

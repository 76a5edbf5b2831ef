"""Bad input: one clear error each, nothing lost, nothing hangs."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from qcore import Cluster, Config, State
from qcore.errors import (
    BackendError,
    BackendRejected,
    ConfigError,
    EncodeError,
    PayloadTooLarge,
    QcoreError,
    StartFailed,
    TaskNameError,
)
from qcore.model import Outgoing, QueueSize
from tests.integration import tasks
from tests.integration.land import final, until, worker_pids
from tests.unit.sqlite_base import fill

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"workers": "four"}, "workers: got 'four'; must be a whole number"),
        ({"workrs": 4}, "workrs: unknown setting; did you mean 'workers'?"),
        ({"memory": {}}, "memory: there are 2 brokers: memory, sqlite"),
        (
            {"timeout": 60, "retry": 60, "renew_leases": False},
            "timeout: got 60; with renew_leases off it must be less than retry",
        ),
        ({"guard_cycle": 60}, "guard_cycle: got 60"),
        ({"guard_cycle": 0}, "guard_cycle: got 0"),
        ({"serializer": "pickle"}, "accept_serializers: missing; 'pickle' can run any code"),
        (
            {"error_reporter": {"log": {"report_on": "often"}}},
            "error_reporter.log.report_on: got 'often'",
        ),
        ({"error_reporter": {"sentri": {}}}, "error_reporter.sentri: no error reporter named 'sentri'"),
        (
            {"cache": "default", "sqlite": None},
            "cache: no installed plugin offers it; the package qcore-django reads it, in Q_CLUSTER of a",
        ),
    ],
)
def test_faulty_configuration_is_told_by_path_and_value(
    land: Land, settings: dict[str, Any], told: str
) -> None:
    """Each fault names its path, the value and what to do."""
    with pytest.raises(ConfigError) as error:
        land.app(**settings)

    assert any(fault.startswith(told) or told in fault for fault in error.value.problems), (
        error.value.problems
    )


def test_task_that_cannot_be_imported_fails_with_the_reason(land: Land) -> None:
    """A worker that does not find a function says which part of its name is missing."""
    app, cluster = land.both(workers=1, ack_failures=True)

    told = {
        name: final(app.enqueue(name)).error
        for name in ("nowhere.at_all", "math.nothing", "tests.integration.nothing.at_all", "math.pi")
    }

    assert told == {
        "nowhere.at_all": "TaskNotFound: no task 'nowhere.at_all': no module 'nowhere' on this worker's path",
        "math.nothing": "TaskNotFound: no task 'math.nothing': math has no 'nothing'",
        "tests.integration.nothing.at_all": (
            "TaskNotFound: no task 'tests.integration.nothing.at_all': tests.integration has no 'nothing'"
        ),
        "math.pi": "TaskNotFound: no task 'math.pi': it is a float and cannot be called",
    }
    assert dict(cluster.status().reincarnations) == {}


def test_name_that_is_none_is_refused_at_the_call(land: Land) -> None:
    """What cannot be a dotted name never reaches the queue."""
    app = land.app()

    for name in ("", "nodots", "x" * 1000 + ".y"):
        with pytest.raises(TaskNameError):
            app.enqueue(name)
    with pytest.raises(TaskNameError):
        app.enqueue(lambda: 1)
    assert app.queue.size().ready == 0


def test_wrong_arguments_fail_the_task_as_the_call_would(land: Land) -> None:
    """Too few arguments are Python's own error where the producer does not know the function."""
    app, _ = land.both(workers=1, ack_failures=True)
    unchecked = msgspec.structs.replace(app.task(tasks.add).bind(1, 2), args=(1,), check=None)

    assert "missing 1 required positional argument: 'y'" in final(app.enqueue_many([unchecked])[0]).error


def test_unserialisable_argument_is_named_at_the_call(land: Land) -> None:
    """The error says which argument it is, and nothing is enqueued."""
    app = land.app()

    with pytest.raises(
        EncodeError, match=r"^argument 1 of tests.integration.tasks.echo .*user: .* type lock"
    ):
        app.enqueue(tasks.echo, {"user": threading.Lock()})
    with pytest.raises(
        EncodeError, match=r"^argument .*wrong.* of tests.integration.tasks.echo .* type lock"
    ):
        app.enqueue(tasks.echo, wrong=threading.Lock())
    assert app.queue.size().ready == 0


def test_too_large_a_message_is_refused_at_the_call(land: Land) -> None:
    """`max_message` is an error of the producer, with both sizes and a way out."""
    app = land.app(max_message=10_000)

    with pytest.raises(PayloadTooLarge, match="max_message allows 10000; pass a reference"):
        app.enqueue(tasks.echo, "x" * 20_000)
    assert app.queue.size().ready == 0


def test_task_outside_tasks_allowed_is_not_imported(land: Land) -> None:
    """A name outside the patterns fails before anything is imported; one inside runs."""
    app, _ = land.both(
        workers=1, ack_failures=True, preload=[], tasks_allowed=["tests.integration.tasks.a*", "math.*"]
    )

    refused = final(app.enqueue("os.getcwd"))
    borrowed = final(app.enqueue("tests.integration.tasks.asyncio.sleep", 0))

    assert refused.error.startswith("TaskNotAllowed: the task 'os.getcwd' does not match tasks_allowed")
    assert borrowed.error.startswith("TaskNotAllowed")
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2


def test_pickle_is_read_only_where_it_is_accepted_by_name(land: Land) -> None:
    """A worker that does not list pickle dead-letters such a message unread and tells the producer why."""
    app = land.app(serializer="pickle", accept_serializers=["pickle", "msgpack"], cached=60)
    cluster = land.cluster(workers=1, cached=60)

    refused = final(app.enqueue(tasks.echo, {1, 2}))
    assert refused.state is State.FAILED
    assert "which `accept_serializers` does not list" in refused.error
    until(lambda: app.queue.size().dead_letters == 1)
    cluster.stop()

    land.cluster(workers=1, serializer="pickle", accept_serializers=["pickle"])
    assert app.enqueue(tasks.echo, {1, 2}).result(wait=100) == {1, 2}


def test_file_that_is_no_database_is_refused_and_left_alone(land: Land) -> None:
    """A file of something else is named in the error, and not a byte of it is changed."""
    path = land.file("letter.txt")
    path.write_bytes(b"Dear Sir or Madam, " * 500)
    app = land.app(sqlite={"path": str(path)})

    with pytest.raises(BackendError, match=r"letter\.txt"):
        app.enqueue(tasks.pid)
    with pytest.raises(QcoreError, match=r"letter\.txt"):
        land.cluster(sqlite={"path": str(path)})
    assert path.read_bytes() == b"Dear Sir or Madam, " * 500


def test_folder_that_is_not_there_or_not_writable_is_named(land: Land) -> None:
    """A place where no file can be made is one clear error, at the call and at the start."""
    place = "/proc/nowhere/queue.db"

    with pytest.raises(QcoreError, match="/proc/nowhere"):
        land.app(sqlite={"path": place}).enqueue(tasks.pid)
    with pytest.raises(QcoreError, match="/proc/nowhere"):
        land.cluster(sqlite={"path": place})


def test_broker_of_one_process_is_refused_by_a_cluster(land: Land) -> None:
    """The memory broker cannot feed workers, and the error says what to take instead."""
    config = Config.from_dict({"name": "x", "memory": {}})

    with pytest.raises(ConfigError, match="'memory' lives in one process and cannot feed a cluster"):
        Cluster(config).start()


def test_a_start_that_is_refused_leaves_no_process(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor that imports meanwhile ends with it."""
    cluster = Cluster(land.app().config)
    begun: list[int] = []

    def refuse(*_: object) -> None:
        begun.append(cluster.pid or 0)
        raise BackendRejected("it refuses everybody")

    monkeypatch.setattr("qcore.cluster.check_backends", refuse)
    with pytest.raises(BackendRejected, match="everybody"):
        cluster.start()

    assert cluster.pid is None
    until(lambda: not psutil.pid_exists(begun[0]), "the supervisor to end")


def test_preload_that_fails_is_a_failed_start_with_its_traceback(land: Land) -> None:
    """A module that is not there or raises ends the start; nothing is left running."""
    (land.folder / "broken_tasks.py").write_text("1 / 0\n")
    sys_path = os.pathsep.join([str(land.folder)])

    with pytest.raises(StartFailed, match="no module 'nowhere_at_all' on its path: correct `preload`"):
        land.cluster(preload=["nowhere_at_all"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(sys_path)
        with pytest.raises(StartFailed, match="ZeroDivisionError"):
            land.cluster(preload=["broken_tasks"])


def test_result_of_what_was_never_enqueued_is_not_ready(land: Land) -> None:
    """An unknown id has no result; a text that is not an id raises an error."""
    app = land.app()

    assert app.results.fetch("0" * 32) is None
    with pytest.raises(ValueError, match="not a task id: 'xyz'"):
        app.results.fetch("xyz")


def test_database_deleted_under_an_app_is_an_error(land: Land) -> None:
    """Nothing is written to a file that has no name any more."""
    app, cluster = land.both(workers=1)
    app.enqueue(tasks.add, 1, 1).result(wait=100)
    path = land.folder / "queue.db"

    path.unlink()

    def refused() -> str:
        try:
            app.enqueue(tasks.add, 1, 1)
        except BackendError as error:
            return str(error)
        return ""

    assert "was deleted, moved or replaced" in until(refused)
    cluster.stop(timeout=1)


def test_good_tasks_run_beside_rows_that_nobody_signed(land: Land, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers set aside what anybody may write into the file, and end by none of it."""
    app, cluster = land.both()
    pids = worker_pids(cluster)
    path = land.folder / "queue.db"
    strange = [b"", b"Qc", b"\xff" * 90, 5, 1.5, "text", [b"\xff\xfe"], os.urandom(200)]

    fill(path, [("queue", {"body": one}) for one in strange])
    fill(path, [("returned", {"at": 1, "failures": one, "crashes": "x", "body": one}) for one in strange])
    fill(path, [("returned", {"at": "never", "deliveries": 2**63 - 1, "body": one}) for one in strange])
    fill(path, [("lease", {"first": 2**40, "last": "z", "token": one, "until": "z"}) for one in strange])
    jobs = [app.enqueue(tasks.add, number, 1) for number in range(20)]

    assert [job.result(wait=100) for job in jobs] == list(range(1, 21))
    until(lambda: app.queue.size() == QueueSize(0, 0, 0, 3 * len(strange)))
    assert worker_pids(cluster) == pids
    assert "Traceback" not in capfd.readouterr().err


def test_junk_does_not_fill_the_log(land: Land, capfd: pytest.CaptureFixture[str]) -> None:
    """There is one line for a kind and second, with a count, of those that are kept and of the others."""
    app, cluster = land.both(workers=1, unsigned_limit=1000)
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(os.urandom(16), b"\xff" + os.urandom(99)) for _ in range(2000)])
        until(lambda: (size := broker.size()).dead_letters == 1000 and not size.ready and not size.leased)
    assert app.enqueue(tasks.add, 1, 2).result(wait=100) == 3
    cluster.stop()

    told = [line for line in capfd.readouterr().err.splitlines() if " unread" in line]
    counts = [int(found[1]) for line in told if (found := re.search(r"and (\d+) more like it", line))]
    assert 1 <= len(told) <= 45
    assert sum(counts) + len(told) == 2000

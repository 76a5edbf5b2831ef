"""The backend of Django's TASKS, with Django's own or with the package django-tasks."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from qcore import Cluster, Config
from qcore.testing import inline
from qcore_django import app, checks
from qcore_testing.backends import queue_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if not any(map(importlib.util.find_spec, ("django.tasks", "django_tasks"))) and not os.environ.get("CI"):
    pytest.skip("neither django.tasks nor django-tasks is installed", allow_module_level=True)

import site_django_tasks as tasks

from qcore_django.backend import InvalidTask, QcoreBackend, base, exceptions, signals
from qcore_django.testing import captured

STATUS = base.TaskResultStatus


@pytest.fixture(autouse=True, params=["sqlite", pytest.param("redis", marks=pytest.mark.further)])
def site(request: pytest.FixtureRequest, own_state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the site queues of the test's own, and its workers the same settings."""
    with queue_settings(request.param, own_state) as settings:
        # Without a path each queue has a file of its own.
        table = {"name": "tasks", **({} if request.param == "sqlite" else settings)}
        monkeypatch.setenv("SITE_Q_CLUSTER", json.dumps(table))
        with override_settings(Q_CLUSTER=table):
            yield
            app.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Return what starts a cluster of a queue."""
    clusters = []

    def started(name: str = "tasks", **settings: Any) -> Any:
        table = {**app.config.as_dict(), "name": name, "workers": 1, "preload": ["site_django_tasks"]}
        clusters.append(Cluster(Config.from_dict({**table, "log_level": "ERROR", **settings})).start())
        return clusters[-1]

    yield started
    for cluster in clusters:
        cluster.stop(timeout=0)


def ended(result: Any) -> Any:
    """Return a result that has ended."""
    end = time.monotonic() + 100
    while not result.is_finished:
        assert time.monotonic() < end, result
        time.sleep(0.02)
        result.refresh()
    return result


def test_what_it_supports_is_true() -> None:
    """All that there is, on a broker with priorities."""
    backend = tasks.add.get_backend()

    assert isinstance(backend, QcoreBackend)
    assert (backend.supports_defer, backend.supports_async_task, backend.supports_get_result) == (True,) * 3
    assert backend.supports_priority
    for priority in (101, -101, 1.5):
        with pytest.raises(InvalidTask, match="between -100 and 100"):
            tasks.add.using(priority=priority)
    with pytest.raises(InvalidTask, match="not valid for backend"):
        tasks.add.using(queue_name="absent")
    with pytest.raises(TypeError):
        tasks.add.enqueue(object(), 1)


def test_a_task_that_no_worker_could_import_is_refused() -> None:
    """One clear error where it is declared: a function inside of another, and a lambda."""

    def inside() -> None:
        """Do nothing."""

    with pytest.raises(InvalidTask):
        tasks.task(inside)
    with pytest.raises(InvalidTask):
        tasks.task(lambda: None)


def test_a_task_has_a_result_from_its_enqueuing_on(start: Callable[..., Any]) -> None:
    """READY while it waits, for whoever has the id; then its value."""
    told: list[Any] = []

    def tell(task_result: Any, **_: Any) -> None:
        told.append(task_result.id)

    signals.task_enqueued.connect(tell)
    result = tasks.add.enqueue(1, b=2)
    signals.task_enqueued.disconnect(tell)
    waiting = tasks.add.get_result(result.id)

    assert told == [result.id]
    assert (waiting.status, waiting.args, waiting.kwargs) == (STATUS.READY, [1], {"b": 2})
    assert (waiting.attempts, waiting.started_at, waiting.errors) == (0, None, [])
    assert abs(waiting.enqueued_at - timezone.now()) < timedelta(seconds=45)
    with pytest.raises(ValueError, match="not finished"):
        _ = waiting.return_value
    start()
    ended(result)
    assert (result.status, result.return_value, result.attempts) == (STATUS.SUCCESSFUL, 3, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    found = tasks.add.get_result(result.id)
    assert (found.args, found.kwargs, found.return_value) == ([1], {"b": 2}, 3)
    with pytest.raises(exceptions.TaskResultMismatch):
        tasks.fail.get_result(result.id)


def test_a_failed_task_has_its_errors(start: Callable[..., Any]) -> None:
    """One for each attempt, with class and traceback; a value that JSON does not hold is one too."""
    start(retry=1, max_attempts=2)
    failed = ended(tasks.fail.enqueue("no luck"))
    strange = ended(tasks.strange.enqueue())

    assert (failed.status, failed.attempts) == (STATUS.FAILED, 1)
    assert [one.exception_class for one in failed.errors] == [ValueError]
    assert "no luck" in failed.errors[0].traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = failed.return_value
    assert [one.exception_class for one in strange.errors] == [TypeError]


def test_each_attempt_leaves_its_error(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is retried waits again in between."""
    backend = tasks.fail.get_backend()
    monkeypatch.setattr(backend, "_options", type(backend._options)(ack_failure=False))
    result = tasks.fail.enqueue("no luck")

    start(retry=1, max_attempts=2)

    ended(result)
    assert (result.status, result.attempts, len(result.worker_ids)) == (STATUS.FAILED, 2, 2)
    assert [one.exception_class for one in result.errors] == [ValueError] * 2


def test_a_task_that_runs_is_running(start: Callable[..., Any], tmp_path: Path) -> None:
    """With its worker and since when, as soon as the cluster has published it."""
    start()
    result = tasks.hold.enqueue(str(tmp_path / "done"))

    end = time.monotonic() + 100
    while result.status != STATUS.RUNNING and time.monotonic() < end:
        time.sleep(0.02)
        result.refresh()
    running = (result.status, result.attempts, result.started_at is not None, result.finished_at)
    (tmp_path / "done").touch()

    assert running == (STATUS.RUNNING, 1, True, None)
    assert ended(result).return_value is None


def test_a_coroutine_and_a_context(start: Callable[..., Any]) -> None:
    """Both are run by a worker; the context knows id, attempt and arguments."""
    start()

    coroutine = ended(tasks.later.enqueue("text"))
    result = ended(tasks.of_itself.enqueue(key=5))

    assert coroutine.return_value == "later text"
    assert result.return_value == {
        "id": result.id,
        "attempt": 1,
        "status": "RUNNING",
        "args": [],
        "kwargs": {"key": 5},
        "task": "of_itself",
        "queue": ["default", 0, "default"],
        "key": 5,
    }


def test_a_task_may_be_deferred(start: Callable[..., Any]) -> None:
    """It does not begin before its time, which its result has too when it has ended."""
    when = timezone.now() + timedelta(seconds=1.5)
    deferred = tasks.add.using(run_after=when).enqueue(1, 2)

    assert deferred.task.run_after == when
    assert tasks.add.get_result(deferred.id).task.run_after == when
    start()
    assert ended(deferred).return_value == 3
    assert deferred.started_at >= when - timedelta(milliseconds=50)
    assert tasks.add.get_result(deferred.id).task.run_after == when


def test_higher_priorities_begin_first(start: Callable[..., Any], tmp_path: Path) -> None:
    """Of the tasks that may begin, in whichever order they were enqueued; a whole number is one."""
    path = tmp_path / "order"
    for priority in (-5, 0, 5, 7.0):
        last = tasks.note.using(priority=-priority).enqueue(str(path), f"{-priority:g} ")
    tasks.note.using(priority=100, run_after=timezone.now() + timedelta(days=1)).enqueue(str(path), "late ")

    start(bulk=1)

    assert ended(last).task.priority == -7
    assert path.read_text() == "5 0 -5 -7 "


def test_a_queue_is_one_of_the_cluster(start: Callable[..., Any]) -> None:
    """A cluster that has it in its `queues` runs its tasks; results have queue and priority again."""
    other = tasks.report.enqueue()
    both = asyncio.run(tasks.add.using(queue_name="reports", priority=-3).aenqueue(3, 4))
    own = tasks.of_itself.using(queue_name="reports", priority=9).enqueue(key=1)
    left = tasks.add.enqueue(1, 2)

    def known() -> list[Any]:
        found = [tasks.add.get_backend().get_result(one.id) for one in (other, both, own, left)]
        return [(one.task.queue_name, one.task.priority, one.backend) for one in found]

    said = [("reports", 7, "default"), ("reports", -3, "default"), ("reports", 9, "default")]
    assert known() == [*said, ("default", 0, "default")]
    assert [(one.name, one.ready) for one in app.queue.list()] == [("default", 1), ("reports", 3)]
    start(queues=["reports"])
    assert (ended(other).return_value, ended(both).return_value) == ("done", 7)
    assert ended(own).return_value["queue"] == ["reports", 9, "default"]
    assert known() == [*said, ("default", 0, "default")]
    assert tasks.add.get_result(left.id).status == STATUS.READY


def test_a_backend_may_be_for_another_cluster(start: Callable[..., Any]) -> None:
    """`cluster` in its OPTIONS names it; its results are found there, and by no other backend."""
    result = tasks.of_itself.using(backend="apart", queue_name="any", priority=2).enqueue(key=1)

    assert app.for_cluster("apart").queue.size().ready == 1
    start("apart")
    assert ended(result).return_value["queue"] == ["any", 2, "apart"]
    assert tasks.of_itself.using(backend="apart").get_result(result.id).task.queue_name == "any"
    with pytest.raises(exceptions.TaskResultDoesNotExist):
        tasks.of_itself.get_result(result.id)


@pytest.fixture
def one_queue(own_state: Path) -> Iterator[None]:
    """Have a broker that has neither queues nor priorities."""
    table = {
        "name": "tasks",
        "broker_class": "site_brokers.OneQueue",
        "sqlite": {"path": own_state / "one.db"},
    }
    with override_settings(Q_CLUSTER=table):
        yield
        app.close()


def test_a_broker_with_one_queue_refuses_others(one_queue: None) -> None:
    """When a task is enqueued, because it may be declared before a broker answers; nothing is kept of it."""
    backend = tasks.add.get_backend()

    assert not backend.supports_priority
    with pytest.raises(
        InvalidTask, match=r"^queue='reports': the broker .* has neither queues nor priorities"
    ):
        tasks.report.enqueue()
    with pytest.raises(InvalidTask, match=r"^priority=5: the broker .* has neither queues nor priorities"):
        asyncio.run(tasks.add.using(priority=5).aenqueue(1, 2))
    assert tasks.add.enqueue(1, 2).status == STATUS.READY
    assert app.queue.size().ready == 1


def test_queues_that_the_broker_has_not_are_found_before(one_queue: None) -> None:
    """By `manage.py check --deploy`, which asks the broker."""
    # a check makes no queue, and asks one that is there
    tasks.add.enqueue(1, 2)

    (found,) = [one for one in checks.check_deployment() if one.id == "qcore_django.E004"]
    assert found.msg == (
        "TASKS['default'] has the queue reports in QUEUES, and the broker 'site_brokers.OneQueue' has "
        "one queue"
    )
    with override_settings(TASKS={"default": {"BACKEND": "qcore_django.backend.QcoreBackend"}}):
        assert "qcore_django.E004" not in [one.id for one in checks.check_deployment()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue": "mail"}, "OPTIONS has 'queue'; leave it out, a task says it by queue_name="),
        ({"delay": 5}, "OPTIONS has 'delay'; leave it out, a task says it by run_after="),
        ({"timeout": "long"}, "OPTIONS: timeout must be a number of seconds"),
        ({"timeouts": 5}, "OPTIONS: no task option 'timeouts'; known are "),
    ],
)
def test_wrong_options_are_one_error(options: dict[str, Any], said: str) -> None:
    """Of the settings, with the name of the backend."""
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(f'TASKS[{chr(39)}mine{chr(39)}]: {said}')}"):
        QcoreBackend("mine", {"OPTIONS": options})


def test_a_name_that_no_queue_can_have_is_refused() -> None:
    """Where a task is declared, and by `manage.py check`."""
    backend = QcoreBackend("mine", {"QUEUES": ["default", "my queue"]})

    (found,) = backend.check()
    assert found.id == "qcore_django.E003"
    assert "QUEUES: the name of a queue must be 1 to 64 letters, digits or _ . -, got 'my queue'" in found.msg
    with pytest.raises(InvalidTask, match=r"queue_name must be 1 to 64 letters, .* got 'my queue'"):
        tasks.add.using(backend="apart", queue_name="my queue")


def test_the_asynchronous_methods_do_the_same(start: Callable[..., Any]) -> None:
    """In asyncio programs."""
    start()

    async def run() -> Any:
        result = await tasks.add.aenqueue(1, 2)
        while not result.is_finished:
            await result.arefresh()
        return await tasks.add.aget_result(result.id)

    assert asyncio.run(asyncio.wait_for(run(), 45)).return_value == 3


def test_a_task_that_runs_here_has_ended() -> None:
    """With `sync` its result is there when it is returned; what it raises reaches the caller."""
    with override_settings(Q_CLUSTER={"name": "tasks", "sync": True}):
        result = tasks.of_itself.using(priority=4).enqueue(key=1)

        assert (result.status, result.return_value["attempt"]) == (STATUS.SUCCESSFUL, 1)
        assert (result.task.priority, result.return_value["queue"]) == (4, ["default", 4, "default"])
        assert tasks.of_itself.get_result(result.id).task.priority == 4
        with pytest.raises(ValueError, match="no luck"):
            tasks.fail.enqueue("no luck")
        with captured() as caught:
            assert tasks.add.enqueue(1, 2).status == STATUS.READY
        assert caught.names == ["qcore_django.backend.runs.site_django_tasks.add"]


def test_an_unknown_id_has_no_result() -> None:
    """Nor has a text that is not an id, or a task that is not one of Django's."""
    job = app.enqueue("math.floor", 1.5)

    for id in ("f" * 32, "no-id", job.id):
        with pytest.raises(exceptions.TaskResultDoesNotExist):
            tasks.add.get_result(id)


def test_a_task_that_is_gone_is_a_failure() -> None:
    """It was removed while it waited: its result names it, and nothing hides that it is not there."""
    with inline(app):
        gone = app.enqueue("qcore_django.backend.runs.site_django_tasks.gone", 1)
        lost = app.enqueue("qcore_django.backend.runs.no_such_module.gone", 1)

    for job, why in ((gone, 'Module "site_django_tasks" does not define a "gone"'), (lost, "no_such_module")):
        found = job.fetch()
        assert found is not None
        assert (found.state.name, why in found.error) == ("FAILED", True)
        with pytest.raises(exceptions.TaskResultDoesNotExist, match=why):
            tasks.add.get_backend().get_result(job.id)


def test_without_django_tasks_it_says_what_to_do() -> None:
    """The module is not there for a Django that has no tasks, and no package for them."""
    program = (
        "import sys; sys.modules['django.tasks'] = sys.modules['django_tasks'] = None\n"
        "import qcore_django.backend"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "ImportError: qcore_django.backend needs django.tasks" in done.stderr

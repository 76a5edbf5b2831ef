"""The backend of Django's TASKS, with Django's own or with the package django-tasks."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.utils import timezone

from qcore import Cluster, Config
from qcore_django import app
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
    """All but priorities."""
    backend = tasks.add.get_backend()

    assert isinstance(backend, QcoreBackend)
    assert (backend.supports_defer, backend.supports_async_task, backend.supports_get_result) == (True,) * 3
    assert not backend.supports_priority
    with pytest.raises(InvalidTask):
        tasks.add.using(priority=5)
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
        "key": 5,
    }


def test_a_task_may_be_deferred_and_be_for_another_queue(start: Callable[..., Any]) -> None:
    """It does not begin before its time; another queue is another of qcore's."""
    when = timezone.now() + timedelta(seconds=1.5)
    deferred = tasks.add.using(run_after=when).enqueue(1, 2)
    other = tasks.add.using(queue_name="reports").enqueue(3, 4)

    assert deferred.task.run_after == when
    assert tasks.add.get_result(deferred.id).task.run_after == when
    start()
    assert ended(deferred).return_value == 3
    assert deferred.started_at >= when - timedelta(milliseconds=50)
    assert tasks.add.get_result(other.id).task.queue_name == "reports"
    assert other.status == STATUS.READY
    start("reports")
    assert ended(other).return_value == 7


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
        result = tasks.of_itself.enqueue(key=1)

        assert (result.status, result.return_value["attempt"]) == (STATUS.SUCCESSFUL, 1)
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


def test_without_django_tasks_it_says_what_to_do() -> None:
    """The module is not there for a Django that has no tasks, and no package for them."""
    program = (
        "import sys; sys.modules['django.tasks'] = sys.modules['django_tasks'] = None\n"
        "import qcore_django.backend"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "ImportError: qcore_django.backend needs django.tasks" in done.stderr

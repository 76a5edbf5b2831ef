"""What Django's documentation says of tasks, item by item, where `test_backend` does not ask it."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import json
import os
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

if not any(map(importlib.util.find_spec, ("django.tasks", "django_tasks"))) and not os.environ.get("CI"):
    pytest.skip("neither django.tasks nor django-tasks is installed", allow_module_level=True)

import site_django_tasks as tasks

from qcore_django.backend import InvalidTask, signals
from qcore_django.testing import captured

from .test_backend import STATUS, ended, site, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["site", "start"]

SYNC = {"name": "tasks", "sync": True}


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, str]]]:
    """Return what the signals have said: which, the status and the id."""
    found: list[tuple[str, str, str]] = []
    kept = []
    for name in ("task_enqueued", "task_started", "task_finished"):

        def tell(task_result: Any, name: str = name, **_: Any) -> None:
            found.append((name, str(task_result.status), task_result.id))

        kept.append((getattr(signals, name), tell))
        kept[-1][0].connect(tell)
    yield found
    for signal, tell in kept:
        signal.disconnect(tell)


def test_a_task_is_a_function_that_can_be_called() -> None:
    """Nothing is enqueued by it, whether it is a coroutine or not."""
    with captured() as caught:
        assert (tasks.add.call(1, 2), tasks.later.call("text")) == (3, "later text")
        assert asyncio.run(tasks.add.acall(1, b=2)) == 3
    assert caught.names == []


def test_using_leaves_the_task_as_it_was() -> None:
    """It returns another one, which can be pickled if it is of Django itself."""
    changed = tasks.add.using(priority=5, queue_name="reports")

    assert (changed.priority, changed.queue_name) == (5, "reports")
    assert (tasks.add.priority, tasks.add.queue_name, tasks.add.name) == (0, "default", "add")
    if importlib.util.find_spec("django.tasks"):
        assert pickle.loads(pickle.dumps(changed)) == changed
    with pytest.raises(TypeError):
        tasks.task(run_after=timezone.now())(tasks.add.func)


def test_arguments_are_what_json_holds() -> None:
    """A tuple becomes a list; what it does not hold is refused, and nothing is enqueued."""
    with captured() as caught:
        result = tasks.add.enqueue((1, 2), b={"key": (3,)})
        for wrong in (dt.datetime.now(dt.UTC), {1, 2}, b"\xff\xfe"):
            with pytest.raises((TypeError, ValueError)):
                tasks.add.enqueue(wrong, 1)
    assert (result.args, result.kwargs) == ([[1, 2]], {"b": {"key": [3]}})
    assert len(caught.names) == 1


def test_a_time_without_a_zone_is_refused() -> None:
    """On a site with USE_TZ."""
    with pytest.raises(InvalidTask, match="aware"):
        tasks.add.using(run_after=dt.datetime(2077, 1, 1))  # noqa: DTZ001 - that is what is wrong with it


def test_a_task_is_enqueued_at_the_commit() -> None:
    """By `transaction.on_commit`, as the documentation has it."""
    with override_settings(Q_CLUSTER=SYNC), captured() as caught:
        with transaction.atomic():
            transaction.on_commit(partial(tasks.add.enqueue, 1, b=2))
            assert caught.names == []
        assert caught.names == ["qcore_django.backend.runs.site_django_tasks.add"]


def test_a_task_that_runs_here_is_told_in_order(told: list[tuple[str, str, str]]) -> None:
    """It is enqueued before it starts, and ends after that, whatever it raises."""
    with override_settings(Q_CLUSTER=SYNC):
        result = tasks.add.enqueue(1, 2)
        with pytest.raises(ValueError, match="no luck"):
            tasks.fail.enqueue("no luck")

    assert told[:3] == [
        ("task_enqueued", STATUS.READY, result.id),
        ("task_started", STATUS.RUNNING, result.id),
        ("task_finished", STATUS.SUCCESSFUL, result.id),
    ]
    assert [one[:2] for one in told[3:]] == [
        ("task_enqueued", STATUS.READY),
        ("task_started", STATUS.RUNNING),
        ("task_finished", STATUS.FAILED),
    ]


def test_a_worker_tells_it_too(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers of a module that workers import are called there."""
    monkeypatch.setenv("SITE_TOLD", str(tmp_path / "told"))
    start()

    result = ended(tasks.add.enqueue(1, 2))

    found = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert found == [["started", "RUNNING", result.id], ["finished", "SUCCESSFUL", result.id]]


def test_a_retried_task_has_its_first_start(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`started_at` is when it began for the first time, `last_attempted_at` for the last."""
    backend = tasks.fail.get_backend()
    monkeypatch.setattr(backend, "_options", type(backend._options)(ack_failure=False))
    start(retry=1, max_attempts=2)

    found = ended(tasks.fail.enqueue("no luck"))

    assert found.attempts == 2
    assert found.enqueued_at <= found.started_at
    assert found.last_attempted_at - found.started_at >= dt.timedelta(seconds=0.5)
    assert found.last_attempted_at <= found.finished_at

"""What a task learns of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import qcore
from qcore.testing import inline
from tests.integration import tasks

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


@pytest.mark.parametrize("function", [tasks.who_am_i, tasks.who_am_i_async])
def test_a_task_knows_itself(land: Land, function: Any) -> None:
    """Id, name, run, queue, group and deadline are those of the message, in its threads too."""
    app, _ = land.both(workers=1)
    before = time.time()
    job = app.task(function).using(group="g", timeout=60).enqueue()

    found = job.result(wait=60)

    assert found.pop("deadline") - before == pytest.approx(60, abs=30)
    assert found.pop("enqueued") == pytest.approx(before, abs=30)
    assert found == {
        "id": job.id,
        "name": f"tests.integration.tasks.{function.__name__}",
        "attempt": 1,
        "cluster": "land",
        "queue": "default",
        "priority": 0,
        "group": "g",
        "schedule": None,
        "headers": {},
    }


def test_a_task_without_a_limit_has_no_deadline(land: Land) -> None:
    """None stands for no limit."""
    app, _ = land.both()
    found: Any = app.task(tasks.who_am_i).using(timeout=None).enqueue().result(wait=60)

    assert found["deadline"] is None


def test_outside_of_a_task_there_is_none(land: Land) -> None:
    """A task that runs in this process knows itself, and what enqueued it is not a task for that."""
    app = land.app()
    assert qcore.current() is None
    with inline(app):
        job = app.task(tasks.who_am_i).enqueue()
        assert (job.result() or {})["id"] == job.id
        assert qcore.current() is None

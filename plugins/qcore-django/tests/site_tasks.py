"""Tasks and callbacks of the site that the tests of this package run in."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import text

import qcore

if TYPE_CHECKING:
    from qcore_django.results import TaskResult


def add(a: float, b: float) -> float:
    """Return the sum."""
    return a + b


def echo(*args: Any, **kwargs: Any) -> Any:
    """Return what it is called with."""
    return [list(args), kwargs]


def fail(message: str) -> NoReturn:
    """Raise an error."""
    raise ValueError(message)


def doze(seconds: float) -> str:
    """Take time."""
    time.sleep(seconds)
    return "slept"


def note(task: TaskResult) -> None:
    """Write down what a callback of Django-Q reads of its task."""
    said = {
        "id": task.id,
        "name": task.name,
        "func": task.func,
        "group": task.group,
        "args": list(task.args),
        "kwargs": task.kwargs,
        "success": task.success,
        "result": task.result,
        "attempt_count": task.attempt_count,
        "took": task.time_taken() >= 0,
        "order": task.started <= task.stopped,
    }
    with Path(os.environ["SITE_NOTES"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


async def note_later(task: TaskResult) -> None:
    """Do the same, as a coroutine."""
    note(task)


def group_by_qcore(name: str, how: str = "") -> list[str]:
    """Write by the connection of `qcore.transaction`; return what it reads by it and by Django."""
    from django.contrib.auth.models import Group

    with qcore.transaction() as lent:
        lent.execute(text("INSERT INTO auth_group (name) VALUES (:name)"), {"name": name})
        found = list(lent.execute(text("SELECT name FROM auth_group")).scalars())
        if how == "commit":
            lent.commit()
        if how == "in the block":
            raise ValueError(how)
    if how:
        raise ValueError(how)
    return sorted([*found, *Group.objects.values_list("name", flat=True)])


def group(name: str) -> dict[str, Any]:
    """Read a row, write one, and tell by which connection."""
    from django.contrib.auth.models import Group
    from django.db import connection

    found = Group.objects.filter(name=name).count()
    Group.objects.create(name=f"by {name}")
    return {"found": found, "atomic": connection.in_atomic_block, "connection": id(connection.connection)}


def group_once(name: str) -> None:
    """Write a row in a savepoint."""
    from django.db import transaction

    with transaction.atomic():
        group(name)


def enqueue_another() -> str:
    """Enqueue a task from a task."""
    from qcore_django.tasks import async_task

    return async_task(add, 1, 2, sync=True)

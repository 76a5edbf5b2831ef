"""Tasks of Django's, as its documentation declares them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NoReturn

try:
    from django.tasks import signals, task
except ImportError:
    from django_tasks import signals, task


@task
def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


@task
async def later(text: str) -> str:
    """Return a text, as a coroutine."""
    return f"later {text}"


@task(takes_context=True)
def of_itself(context: Any, *, key: int) -> dict[str, Any]:
    """Tell what the context has."""
    result = context.task_result
    return {
        "id": result.id,
        "attempt": context.attempt,
        "status": str(result.status),
        "args": result.args,
        "kwargs": result.kwargs,
        "task": result.task.name,
        "queue": [result.task.queue_name, result.task.priority, result.backend],
        "key": key,
    }


@task
def fail(text: str) -> NoReturn:
    """Raise an error."""
    raise ValueError(text)


@task
def strange() -> object:
    """Return what JSON does not hold."""
    return object()


@task
def hold(path: str) -> None:
    """Run until a file is there."""
    end = time.monotonic() + 100
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.02)


@task(queue_name="reports", priority=7)
def report() -> str:
    """Return a text."""
    return "done"


@task
def note(path: str, text: str) -> None:
    """Write down that it ran."""
    with Path(path).open("a") as file:
        file.write(text)


def _tell(name: str) -> None:
    def tell(task_result: Any, **_: Any) -> None:
        if path := os.environ.get("SITE_TOLD"):
            with Path(path).open("a") as file:
                file.write(json.dumps([name, str(task_result.status), task_result.id]) + "\n")

    getattr(signals, f"task_{name}").connect(tell, weak=False)


for _name in ("started", "finished"):
    _tell(_name)

"""Tasks that run at once with others."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextvars import ContextVar
from typing import Any

from qcore import App, Config, current, progress
from tests.integration.tasks import hold, note

#: never used as a producer
app = App(Config.from_dict({"name": "declared", "sqlite": {"path": ":memory:"}, "secret_key": "k" * 40}))

WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def wait_for(gate: str, path: str, number: int = 0) -> int:
    """Note its number, and wait for a file without blocking."""
    note(path, str(number))
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240 - a file is what a test can make
        await asyncio.sleep(0.01)
    return number


async def wait_and_clean(gate: str, path: str, number: int = 0) -> int:
    """Do the same, and note that it was cancelled."""
    try:
        return await wait_for(gate, path, number)
    except asyncio.CancelledError:
        note(path, f"cancelled {number}")
        raise


async def nap(seconds: float) -> int:
    """Sleep without blocking."""
    await asyncio.sleep(seconds)
    return os.getpid()


async def add(x: int, y: int) -> int:
    """Add."""
    return x + y


async def about_me(gate: str, path: str, name: str) -> tuple[Any, ...]:
    """Tell what it knows of itself, after others have begun."""
    WHO.set(name)
    progress(1, 2, name)
    await wait_for(gate, path)
    now = current()
    seen = await asyncio.to_thread(current)
    return WHO.get(), now and now.id, seen and seen.id


async def poison(path: str) -> None:
    """Kill the worker, with everybody in it."""
    note(path)
    await asyncio.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


async def record(path: str, number: int, seconds: float) -> int:
    """Note that it has run, and take its time."""
    await asyncio.sleep(seconds)
    note(path, str(number))
    return number


async def block(path: str, gate: str) -> None:
    """Hold up the loop."""
    note(path)
    hold(gate)


async def block_for(seconds: float) -> None:
    """Hold up the loop for some seconds."""
    time.sleep(seconds)


def hold_thread(gate: str, path: str, number: int = 0) -> int:
    """Note its number, and wait for a file."""
    note(path, str(number))
    hold(gate)
    return number


def spin(path: str) -> None:
    """Run Python for ever."""
    note(path)
    while True:
        pass


def sleep_long(path: str) -> None:
    """Sleep where no exception comes through."""
    note(path)
    time.sleep(60)


async def asks_subtasks(path: str) -> str:
    """Leave a subtask behind, which ends with its task."""

    async def later() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note(path, "ended")

    kept = asyncio.create_task(later())
    await asyncio.sleep(0)
    return repr(kept.done())


async def uses_libraries() -> list[int]:
    """Use what libraries for coroutines use."""
    loop = asyncio.get_running_loop()
    found = [await loop.run_in_executor(None, sum, [1, 2])]
    async with asyncio.TaskGroup() as group:
        one = group.create_task(add(2, 3))
    found.append(one.result())
    found.append(await asyncio.to_thread(asyncio.run, add(3, 4)))
    return found


def runs_a_loop() -> int:
    """Run a loop of its own."""
    return asyncio.run(add(1, 2))


@app.task(alone=True)
def alone_in_the_main_thread(path: str) -> bool:
    """Tell whether it runs in the main thread, where signals can be handled."""
    note(path)
    return threading.current_thread() is threading.main_thread()


async def which_loop() -> str:
    """Tell what it runs on."""
    return type(asyncio.get_running_loop()).__module__

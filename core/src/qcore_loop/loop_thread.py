"""Runs coroutines, with their subtasks, on an event loop in a thread."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextvars import Context

_log = logging.getLogger("qcore.worker")

#: The coroutine on the loop that this code is part of.
_RUN: Final[ContextVar[LoopRun | None]] = ContextVar("qcore_loop.run", default=None)
#: Seconds that the loop is given to end.
_CLOSE: Final = 1.0
#: A coroutine runs to its first wait as it is made, not a step of the loop later; not so on Python 3.11.
_AT_ONCE: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class LoopRun(ABC):
    """One coroutine on the loop, from its start to its end."""

    __slots__ = ("cancelled", "context", "error", "subtasks", "task", "value")

    def __init__(self, context: Context) -> None:
        #: it runs in it; who asks how it ended takes it away
        self.context = context
        #: what the coroutine returned, or what it raised
        self.value: Any = None
        self.error: BaseException | None = None
        #: None before it has begun, and once it has ended
        self.task: asyncio.Task[None] | None = None
        #: those that run, None before the first
        self.subtasks: set[asyncio.Task[Any]] | None = None
        self.cancelled = False

    @abstractmethod
    def make(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine."""

    @abstractmethod
    def ended(self) -> None:
        """Take in that the coroutine and its subtasks have ended; called in the thread of the loop."""


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = new_loop()
        self.loop.set_task_factory(_make_task)  # type: ignore[arg-type]  # the options differ by version
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="qcore-loop", daemon=True)
        self.thread.start()

    def start(self, some: Sequence[LoopRun]) -> None:
        """Start coroutines, in this order."""
        self.loop.call_soon_threadsafe(self._start, some)

    def cancel(self, one: LoopRun) -> None:
        """Cancel a coroutine at its next `await`; may be called by a signal handler."""
        one.cancelled = True
        if (task := one.task) is not None:
            self.loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """End the loop; what still runs on it is left as it is."""
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(_CLOSE)
        if not self.thread.is_alive():
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:
            try:
                self.loop.run_forever()
            except BaseException:  # noqa: BLE001 - SystemExit in a subtask of somebody's ends no loop
                _log.exception("a subtask has ended the event loop; it goes on")

    def _start(self, some: Sequence[LoopRun]) -> None:
        loop = self.loop
        for one in some:
            # Not by `create_task`, which makes subtasks of the coroutine that calls it.
            asyncio.Task(_until_end(one), loop=loop, context=one.context, **_AT_ONCE)


async def _until_end(one: LoopRun) -> None:
    """Await a coroutine, and end the subtasks that it leaves running."""
    _RUN.set(one)
    # From here on it can be interrupted; it may have been cancelled before.
    one.task = asyncio.current_task()
    try:
        one.value = await (_cancelled() if one.cancelled else one.make())
    except BaseException as exc:  # noqa: BLE001 - whatever it raises is its result
        one.error = exc
    if one.subtasks:
        try:
            await _end(list(one.subtasks))
        except asyncio.CancelledError as exc:
            one.error = one.error or exc
    one.task = one.subtasks = None
    one.ended()


async def _cancelled() -> None:
    raise asyncio.CancelledError


async def _end(subtasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in subtasks:
        task.cancel()
    await asyncio.gather(*subtasks, return_exceptions=True)


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    run = _RUN.get()
    if run is not None and run.task is not None:
        if run.subtasks is None:
            run.subtasks = set()
        run.subtasks.add(task)
        task.add_done_callback(run.subtasks.discard)
    return task

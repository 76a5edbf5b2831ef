"""Runs coroutines, with their subtasks, on an event loop in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextvars import Context

_log = logging.getLogger("qcore.worker")

#: The subtasks of the coroutine that this code is part of.
_SUBTASKS: Final[ContextVar[set[asyncio.Task[Any]] | None]] = ContextVar("qcore_loop.subtasks", default=None)
#: Seconds that the loop is given to end.
_CLOSE: Final = 1.0


class LoopRun:
    """One coroutine on the loop, from its start to its end.

    At its end it lets go of what leads back to it, so that none is left to the garbage collector.
    """

    __slots__ = ("cancelled", "ended", "error", "make", "task", "value")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]], ended: Callable[[], None]) -> None:
        #: returns the coroutine; not there once it has ended
        self.make = make
        #: is called in the thread of the loop once the coroutine and its subtasks have ended; not there then
        self.ended = ended
        #: what the coroutine returned, or what it raised
        self.value: Any = None
        self.error: BaseException | None = None
        #: None before it has begun, and once it has ended
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = new_loop()
        self.loop.set_task_factory(_make_task)  # type: ignore[arg-type]  # the options differ by version
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="qcore-loop", daemon=True)
        self.thread.start()

    def start(self, some: Sequence[tuple[LoopRun, Context]]) -> None:
        """Start coroutines, in this order, each in its context."""
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

    def _start(self, some: Sequence[tuple[LoopRun, Context]]) -> None:
        for one, context in some:
            one.task = self.loop.create_task(_until_end(one), context=context)


async def _until_end(one: LoopRun) -> None:
    """Await a coroutine, and end the subtasks that it leaves running."""
    subtasks: set[asyncio.Task[Any]] = set()
    _SUBTASKS.set(subtasks)
    try:
        # It may have been cancelled before it was here to be interrupted.
        one.value = await (_cancelled() if one.cancelled else one.make())
    except BaseException as exc:  # noqa: BLE001 - whatever it raises is its result
        one.error = exc
    try:
        if subtasks:
            await _end(list(subtasks))
    except asyncio.CancelledError as exc:
        one.error = one.error or exc
    ended = one.ended
    one.task = None
    del one.make, one.ended
    ended()


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
    subtasks = _SUBTASKS.get()
    if subtasks is not None:
        subtasks.add(task)
        task.add_done_callback(subtasks.discard)
    return task

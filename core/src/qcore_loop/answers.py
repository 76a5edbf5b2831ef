"""Decides how a thread answers coroutines of any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")


class Waiting(Generic[_T]):
    """What a coroutine waits for; a thread answers it with a value or an exception."""

    __slots__ = ("context", "error", "future", "loop", "value")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_T] = self.loop.create_future()
        #: of the caller: hooks read from it which request or span this is
        self.context = contextvars.copy_context()
        self.value: _T | None = None
        self.error: BaseException | None = None

    def run(self, function: Callable[..., _T], *args: Any) -> None:
        """Take what a function returns or raises for the answer, in the context of the caller."""
        try:
            self.value = self.context.run(function, *args)
        except BaseException as exc:  # noqa: BLE001 - it is the caller's to handle
            self.fail(exc)

    def fail(self, error: BaseException) -> None:
        """Take an error for the answer; several callers may have the same, each with its own traceback.

        One that ends programs or iterations, such as SystemExit of a hook, arrives as a RuntimeError: it
        would end the loop, or be lost in it.
        """
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            self.error = RuntimeError(f"{type(error).__name__} was raised for this call: {error}")
            self.error.__cause__ = error
            return
        try:
            self.error = copy.copy(error).with_traceback(error.__traceback__)
        except Exception:  # noqa: BLE001 - a plugin's exception whose constructor takes other arguments
            self.error = error


def answer(waiting: Iterable[Waiting[Any]]) -> None:
    """Hand answers over to the loops that wait for them, in one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiting[Any]]] = {}
    for one in waiting:
        by_loop.setdefault(one.loop, []).append(one)
    for loop, some in by_loop.items():
        # A loop that is closed has no coroutine that waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, some)


def _resolve(waiting: Iterable[Waiting[Any]]) -> None:
    for one in waiting:
        if one.future.done():
            continue
        if one.error is None:
            one.future.set_result(one.value)
        else:
            one.future.set_exception(one.error)


class Serving(Generic[_T]):
    """A thread that takes what is given to it; it is started when something is, once a process."""

    def __init__(self, name: str, serve: Callable[[queue.SimpleQueue[_T]], None]) -> None:
        self._name = name
        self._serve = serve
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._given: queue.SimpleQueue[_T] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def give(self, one: _T) -> None:
        """Give something to the thread."""
        if self._pid != os.getpid():
            # A forked child has no such thread, and what the parent gave to it is the parent's.
            self._reset()
        self._given.put(one)
        if not self._started:
            with self._lock:
                if not self._started:
                    self._started = True
                    threading.Thread(
                        target=self._serve, args=(self._given,), name=self._name, daemon=True
                    ).start()

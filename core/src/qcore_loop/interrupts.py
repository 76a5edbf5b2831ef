"""Raises an exception in the thread of somebody else."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class _Discarded(BaseException):
    """Replaces an exception that is not to be raised any more."""


class Interruptible:
    """A block of code that another thread, or a signal handler of the main thread, may interrupt.

    Within the block an exception may be raised between any two lines of Python; a call of the system,
    such as a sleep, is not interrupted. After the block none is raised any more.
    """

    def __init__(self) -> None:
        # A signal handler may be interrupted by another one, in the same thread.
        self._lock = threading.RLock()
        self._thread = 0
        self._requested = False

    def __enter__(self) -> None:
        self._thread = threading.get_ident()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        with self._lock:
            thread, self._thread = self._thread, 0
            if self._requested:
                self._requested = False
                _discard(thread)

    def interrupt(self, kind: type[BaseException]) -> bool:
        """Raise an exception in the block; return whether there was somebody in it."""
        with self._lock:
            if not self._thread:
                return False
            self._requested = True
            return bool(_set_exception(ctypes.c_ulong(self._thread), ctypes.py_object(kind)))


def _discard(thread: int) -> None:
    """Have an exception of this thread that was not raised yet not be raised.

    It is replaced by one that is raised and caught here. To remove it would leave a mark in the
    interpreter that something is to be raised, which only a raised exception takes away: each call of
    a function is slower as long as it is there, and with Python 3.11 a call hangs under a profiler.
    """
    try:
        if _set_exception(ctypes.c_ulong(thread), ctypes.py_object(_Discarded)):
            while True:
                pass
    except _Discarded:
        pass

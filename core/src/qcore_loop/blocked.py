"""Tells what blocks an event loop."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_loop.loop_thread import LoopThread

#: Seconds after which a loop that does not answer is blocked, and between two looks.
BLOCKED: Final = 1.0
_LOOK: Final = 0.25


class BlockWatch:
    """A thread that asks a loop for an answer, again and again while something runs on it."""

    def __init__(self, loop: LoopThread, tell: Callable[[float, str], None]) -> None:
        self._loop = loop
        #: gets the seconds for which the loop has been blocked, and the stack that blocks it
        self._tell = tell
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._answered = True
        self._thread = threading.Thread(target=self._run, name="qcore-loop-watch", daemon=True)
        self._thread.start()

    def watch(self, *, wanted: bool) -> None:
        """Watch the loop from now on, or let it rest."""
        if wanted is not self._wanted.is_set():
            (self._wanted.set if wanted else self._wanted.clear)()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        asked, told = time.monotonic(), False
        while True:
            self._wanted.wait()
            if self._closing.wait(_LOOK):
                return
            now = time.monotonic()
            if self._answered:
                asked, told, self._answered = now, False, False
                self._loop.loop.call_soon_threadsafe(self._answer)
            elif now - asked > BLOCKED and not told:
                told = True
                frame = sys._current_frames().get(self._loop.thread.ident or 0)  # noqa: SLF001 - there is no public way
                if frame is not None:
                    self._tell(now - asked, "".join(traceback.format_stack(frame)))

    def _answer(self) -> None:
        self._answered = True

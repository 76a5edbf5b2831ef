"""Ends a process whose stop hangs, and says what hangs."""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_log = logging.getLogger("qcore.cluster")

#: Lines of a stack that are shown.
_DEPTH: Final = 4
#: Seconds that a process is given to say what hangs.
_LAST_WORDS: Final = 2.0
#: Standard error, even where `sys.stderr` is none.
_STDERR: Final = 2


def arm(seconds: float, code: int = 1) -> None:
    """Have this process end with `code` if it still runs after `seconds`.

    A signal handler may call this. A main thread that waits is interrupted, says where, and ends the
    process. One that never comes back from a call in C is ended by a thread of the interpreter's.
    """

    def give_up(_number: int, frame: FrameType | None) -> None:
        # If the log hangs as well, the kernel ends this process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _LAST_WORDS)
        if _waits_for_threads(frame):
            for thread in threading.enumerate():
                if not thread.daemon and thread is not threading.main_thread():
                    log_stack(f"thread {thread.name!r} does not end; the process ends without it", thread)
        else:
            _log.error("the stop does not end; the process ends without it%s", _stack(frame))
        os._exit(code)

    signal.signal(signal.SIGALRM, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + 2 * _LAST_WORDS, exit=True, file=_STDERR)


def _let_end() -> None:
    """Leave the rest to the interpreter, which takes the handler away first: the signal would kill it."""
    signal.setitimer(signal.ITIMER_REAL, 0)


# What is registered first runs last, so what a program has registered is bounded as well.
atexit.register(_let_end)


def log_stack(text: str, thread: threading.Thread) -> None:
    """Log a text and what a thread does."""
    _log.error("%s%s", text, _stack(sys._current_frames().get(thread.ident or 0)))  # noqa: SLF001 - there is no public name


def _waits_for_threads(frame: FrameType | None) -> bool:
    """Return whether the interpreter has ended all but its threads."""
    while frame is not None:
        if (frame.f_code.co_filename, frame.f_code.co_name) == (threading.__file__, "_shutdown"):
            return True
        frame = frame.f_back
    return False


def _stack(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return "; it is here:\n" + "".join(traceback.format_stack(frame, None)[-_DEPTH:]).rstrip()

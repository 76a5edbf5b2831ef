"""A child process that was forked, not started as a program."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.pool")

#: Exit code of a child that could not continue (sysexits.h EX_SOFTWARE).
EX_SOFTWARE: Final = 70


class Forked:
    """A forked child, with the part of `subprocess.Popen` that is needed here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    @classmethod
    def run(cls, work: Callable[[], None]) -> Forked:
        """Fork a child that does `work` and ends; it leaves Ctrl-C to this process."""
        # Blocked until the child ignores it, or it would end with a traceback in between.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if pid:
            return cls(pid)
        code = EX_SOFTWARE
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the last frame of the process
            _log.critical("the process that forks workers could not continue", exc_info=True)
        finally:
            os._exit(code)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the child has ended; below 0 it is a signal."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._status is None:
            pid, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("zygote", timeout or 0.0)
            else:
                time.sleep(0.002)
        return self._status

    def kill(self) -> None:
        """Kill the child; only this process reaps it, so the pid is still its own."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

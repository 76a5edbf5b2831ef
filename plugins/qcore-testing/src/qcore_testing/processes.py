"""Processes that report what they do and are killed while doing it."""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import sys
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for the time of a block: it is there and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        # A process of many threads goes on for a moment. This cannot be observed of a process that is not
        # a child of this one.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


#: seconds a process that said nothing has to write where it is: for the first line, for each further block
_STACK_WAIT: Final = (5.0, 0.2)


class Child:
    """A forked process; it ends when its function ends or at the latest with the `with` block."""

    def __init__(self, work: Callable[[Callable[[str], None]], None], *, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._rest = b""
        self._status: int | None = None
        self._read, write = os.pipe()
        with warnings.catch_warnings():
            # test runners have threads of their own; the child touches nothing of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            _run(work, write)
        os.close(write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        os.close(self._read)

    def line(self) -> str | None:
        """Return the next line it sent, or None when it has ended and sent no more.

        Raises:
            TimeoutError: it sent none in time; the message has the stacks of its threads.

        """
        end = time.monotonic() + self._timeout
        while b"\n" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]:
                said = f"the process said nothing for {self._timeout:.0f} seconds"
                raise TimeoutError(f"{said}; {self._stacks()}")
            block = os.read(self._read, 65536)
            if not block:
                return None
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _stacks(self) -> str:
        """Return what each thread of it is doing."""
        os.kill(self.pid, signal.SIGUSR2)
        text, wait = self._rest, _STACK_WAIT[0]
        while select.select([self._read], [], [], wait)[0] and (block := os.read(self._read, 65536)):
            text, wait = text + block, _STACK_WAIT[1]
        return f"it was here:\n{text.decode()}" if text else "it does not tell where it is"

    def lines(self) -> list[str]:
        """Return what it sends until it ends."""
        texts = []
        while (line := self.line()) is not None:
            texts.append(line)
        return texts

    def kill(self) -> None:
        """Kill it at once, whatever it is doing."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitpid(self.pid, 0)[1]

    def join(self) -> int:
        """Wait until it has ended; return its exit status, negative for a signal."""
        self.lines()
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(self._status)


def _run(work: Callable[[Callable[[str], None]], None], write: int) -> None:
    """Do the work and leave without the test runner's own farewell."""
    status = 1
    # what the test runner left to the collector is its own: finalizers may wait for threads that are not here
    gc.freeze()
    # asked for by `Child._stacks`; it needs no lock of the interpreter
    faulthandler.register(signal.SIGUSR2, file=write, all_threads=True)
    try:
        work(lambda text: _send(write, text))
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may come back into the copy of the test runner
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _send(write: int, text: str) -> None:
    # one write of less than a pipe's buffer: it is sent whole or not at all
    os.write(write, text.encode() + b"\n")

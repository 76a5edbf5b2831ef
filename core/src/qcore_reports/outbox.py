"""Makes calls in a thread that holds up nobody, whatever they do."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore_reports.log_limit import LogLimit
from qcore_text.wording import counted, reason

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.reporting")

#: Calls that wait at most. What fails faster than it can be reported says the same again and again.
_SIZE: Final = 100
#: Seconds after which a call that has not returned hangs: no more calls are taken until it returns.
_HANGS: Final = 5.0
#: Failed calls in a row after which none is made for a while, and for how many seconds.
_ENOUGH: Final = 3
_REST: Final = 30.0
#: Seconds for which a caller may be held up.
_BUDGET: Final = 0.02
#: The part of a flush's time that the receiver is given: the rest is for it to say what is lost.
_FLUSHING: Final = 0.9
#: Seconds between two log lines.
_LINES: Final = 60.0


class _Call(NamedTuple):
    make: Callable[[], None]
    #: set when it was made, or lost
    done: threading.Event
    #: it is a report, not a flush
    is_counted: bool = True


class Outbox:
    """Makes calls one after the other in a thread of its own, which is started by the first.

    A call that finds no room, or comes while another hangs or after several have failed, is lost:
    it is counted, and a log line says so once a minute.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[float], None],
        count: Callable[[int, int], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        waits: Callable[[], bool] | None = None,
    ) -> None:
        """Make an outbox.

        Args:
            name: what log lines call the receiver.
            flush: sends what the receiver has buffered within so many seconds; called in the thread.
            count: told how many calls were made and how many were lost.
            clock: returns monotonic seconds.
            waits: returns whether the receiver has something to flush that was not put here; None = never.

        """
        self.name = name
        self._waits = waits
        self._flush = flush
        self._count = count
        self._clock = clock
        self._pid = 0
        self._queue: queue.Queue[_Call]
        #: when the call in hand began; 0 = there is none
        self._began = 0.0
        self._is_quick = True
        self._failures = 0
        #: no call is made before; 0 = calls are made
        self._rests_until = 0.0
        self._lines = LogLimit(_log, _LINES, clock)

    def put(self, call: Callable[[], None]) -> None:
        """Have a call made; wait for it for `_BUDGET` at most, and not at all if the last took longer."""
        if self._pid != os.getpid() and not self._start():
            return
        now = self._clock()
        if self._hangs(now):
            self.lose(f"its last call has not returned for {counted(round(now - self._began), 'second')}")
        elif now < self._rests_until:
            self.lose("")
        else:
            done = threading.Event()
            try:
                self._queue.put_nowait(_Call(call, done))
            except queue.Full:
                self.lose(f"{counted(_SIZE, 'report')} wait already")
            else:
                # The next task may kill this process.
                if self._is_quick:
                    done.wait(_BUDGET)

    @property
    def waits(self) -> bool:
        """Whether there may be something to flush."""
        return self._pid == os.getpid() or (self._waits is not None and self._waits())

    def begin_flush(self, deadline: float) -> Callable[[], bool]:
        """Have all that waits made and flushed until a time; return a function that waits for it.

        That function returns whether all was done in that time.
        """
        if self._pid != os.getpid() and not self._start():
            return lambda: True
        done, in_time = threading.Event(), threading.Event()

        def flush() -> None:
            began = self._clock()
            seconds = _FLUSHING * max(0.0, deadline - began)
            self._flush(seconds)
            # One that keeps to its time has given up when that is over.
            if self._clock() - began < seconds:
                in_time.set()

        def wait() -> bool:
            done.wait(max(0.0, deadline - self._clock()))
            self._lines.flush()
            return in_time.is_set()

        if self._hangs(self._clock()):
            # Whoever ends this process would wait for nothing.
            deadline = 0.0
            return wait
        with suppress(queue.Full):
            self._queue.put(_Call(flush, done, is_counted=False), timeout=max(0.0, deadline - self._clock()))
        return wait

    def _start(self) -> bool:
        """Start the thread; after a fork there is none, and the queue's lock may be held by nobody."""
        self._queue = queue.Queue(_SIZE)
        self._began = 0.0
        try:
            threading.Thread(
                target=self._run, args=(self._queue,), name=f"qcore-reports-{self.name}", daemon=True
            ).start()
        except RuntimeError as exc:
            # No thread can be started while the interpreter ends.
            self.lose(reason(exc))
            return False
        self._pid = os.getpid()
        return True

    def _hangs(self, now: float) -> bool:
        began = self._began
        return began > 0 and now - began > _HANGS

    def _run(self, calls: queue.Queue[_Call]) -> None:
        while True:
            # Nothing is kept in a variable here: it would live until the next call.
            self._make(calls.get())

    def _make(self, call: _Call) -> None:
        began = self._clock()
        if call.is_counted and began < self._rests_until:
            self.lose("")
            call.done.set()
            return
        self._began = began
        try:
            call.make()
        except BaseException as exc:  # noqa: BLE001 - logged; a reporter may raise anything
            if call.is_counted:
                self._failures += 1
                if self._failures >= _ENOUGH:
                    self._rests_until = self._clock() + _REST
                self.lose(reason(exc))
            else:
                _log.warning("error reporter %s: it failed to flush: %s", self.name, reason(exc))
        else:
            if call.is_counted:
                self._failures = 0
                self._count(1, 0)
        finally:
            self._is_quick = self._clock() - began < _BUDGET
            self._began = 0.0
            call.done.set()

    def lose(self, why: str, count: int = 1) -> None:
        """Count what is lost, and log why."""
        self._count(0, count)
        why = why or "its last calls failed, so it is not called for a while"
        what = "a report is" if count == 1 else f"{counted(count, 'report')} are"
        self._lines.write(logging.WARNING, self.name, f"error reporter {self.name}: {what} lost: {why}")

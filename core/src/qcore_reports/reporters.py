"""Tells the configured error reporters of failures."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.errors import INTERRUPTS
from qcore.interfaces import ErrorReport, ErrorReporter
from qcore.model import TaskInfo
from qcore_reports.frames import release_locals
from qcore_reports.handing_on import Giver, Taker
from qcore_reports.lateness import LATE_FOR, share, shared
from qcore_reports.outbox import Outbox
from qcore_text.wording import reason, without

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextvars import Context

    from qcore_reports.policy import Policy

_log = logging.getLogger("qcore.reporting")

#: Hooks of which a reporter may have one, and then something to send.
_MORE: Final = (
    "qcore_post_execute",
    "qcore_pre_execute",
    "qcore_worker_start",
    "qcore_worker_stop",
    "qcore_cluster_start",
    "qcore_cluster_status",
    "qcore_cluster_stop",
)
#: Seconds error reporters get to send what waits when a process ends.
FLUSH_SECONDS: Final = 2.0
#: The same after one of them could not in that time. Workers of short tasks are replaced often, and each
#: would wait for a service that does not answer.
_LATE_SECONDS: Final = 0.02


class Reporters:
    """The configured error reporters, none of which can hurt a task or hold it up."""

    def __init__(
        self,
        reporters: Iterable[tuple[str, ErrorReporter, Policy]],
        *,
        cluster: str = "",
        label: str = "",
        secrets: Collection[str] = (),
    ) -> None:
        self._cluster = cluster
        self._label = label
        self._secrets = sorted(secrets)
        self._lock = threading.Lock()
        #: held while they begin to work in the process of this number
        self._starting = threading.Lock(), os.getpid()
        self._started = False
        self._flushes_at_exit = False
        #: reports that were made and lost in this process
        self.made = self.lost = 0
        #: told of each
        self.on_count: Callable[[int, int], None] = lambda _made, _lost: None
        self._all: list[tuple[ErrorReporter, Policy, Outbox]] = []
        #: of the process that workers are forked from, in which none begins to work; 0 = this is another
        self._preloaded_in = 0
        self._giver: Giver | None = None
        self._takers: list[Taker] = []
        for name, reporter, policy in reporters:
            reporter.send_arguments, reporter.secrets = policy.send_arguments, self._secrets
            reporter.cluster, reporter.label = cluster, label
            hears_more = any(hasattr(reporter, hook) for hook in _MORE)
            waits = reporter.waits if hears_more else None
            outbox = Outbox(name, reporter.flush, self._count, waits=waits)
            reporter.lose = outbox.lose
            self._all.append((reporter, policy, outbox))

    def start(self) -> None:
        """Have all begin to work in this process; a second call does nothing, nor does one before a fork."""
        if self._started or self._preloaded_in == os.getpid():
            return
        lock, pid = self._starting
        if pid != os.getpid():
            # Another thread may have held it during the fork, and is not here.
            lock, _ = self._starting = threading.Lock(), os.getpid()
        with lock:
            if not self._started:
                self._lateness = shared()
                for reporter, _, _ in self._all:
                    reporter.start()
                self._started = True

    def preload(self) -> None:
        """Have all import what they need, in the process that workers are forked from."""
        if self._all:
            share()
            self._preloaded_in = os.getpid()
        for place, (reporter, _, _) in enumerate(self._all):
            if type(reporter).receive is not ErrorReporter.receive:
                self._giver = self._giver or Giver()
                reporter.hand_on = partial(self._giver.give, place)
            reporter.preload()

    def connect(self, tell: Callable[[int | None], None]) -> None:
        """Tell by which file the supervisor gets what workers hand on; None if none of them does."""
        if self._giver is None:
            tell(None)
        else:
            self._giver.connect(tell)

    def listen(self, fd: int) -> None:
        """Take what the workers of another process hand on by a file; -1 = nothing."""
        if fd >= 0:
            there = [one for one in self._takers if not one.has_ended]
            self._takers = [*there, Taker(fd, self._take)]

    def _take(self, place: int, data: bytes) -> None:
        reporter, _, outbox = self._all[place]
        try:
            reporter.receive(data)
        except BaseException as exc:  # noqa: BLE001 - logged; a reporter may raise anything
            outbox.lose(reason(exc))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    def __iter__(self) -> Iterator[ErrorReporter]:
        """Return each."""
        return (one for one, _, _ in self._all)

    def hooks(self, name: str) -> list[tuple[str, Callable[[Any], None]]]:
        """Return the methods of reporters that are called as this hook, each with its class's name."""
        made = [(type(one).__name__, getattr(one, name, None)) for one, _, _ in self._all]
        return [(title, method) for title, method in made if method is not None]

    def report(self, report: ErrorReport, context: Context | None = None) -> None:
        """Have all be told that want to know; return at once."""
        try:
            self._report(report, context)
        except INTERRUPTS:
            raise
        except BaseException:  # noqa: BLE001 - logged; a user's exception may answer whatever is asked of it by another
            _log.exception("a failure is not reported: task %s", report.task.id)
            self._count(0, len(self._all))

    def _report(self, report: ErrorReport, context: Context | None) -> None:
        wanting = [one for one in self._all if one[1].wants(report)]
        if not any(policy.send_arguments for _, policy, _ in wanting) and report.error is not None:
            release_locals(report.error)
        if not wanting:
            return
        report = attrs.evolve(
            report,
            summary=without(report.summary, self._secrets),
            text=without(report.text, self._secrets),
            cluster=self._cluster,
            label=self._label,
            worker=report.worker or f"{socket.gethostname()}:{os.getpid()}",
        )
        bare = attrs.evolve(report, task=attrs.evolve(report.task, args=(), kwargs={}))
        # The task's own context cannot be entered by two threads at once.
        context = copy_context() if context is None else context.copy()
        for reporter, policy, outbox in wanting:
            told = report if policy.send_arguments else bare
            outbox.put(partial(context.copy().run, reporter.report, told))

    def trouble(self, summary: str, error: BaseException | None = None, text: str = "") -> None:
        """Report an error that belongs to no task."""
        task = TaskInfo(id="", name="")
        self.report(
            ErrorReport(task=task, kind="supervisor", summary=summary, text=text or summary, error=error)
        )

    def failure(self, error: BaseException, text: str) -> None:
        """Report an exception that belongs to no task."""
        self.trouble(reason(error), error, text)

    def flush(self) -> None:
        """Let all of them send what waits; one that has not begun to work here has nothing."""
        if not self._started:
            return
        for taker in self._takers:
            taker.drain()
        now, waits = time.monotonic(), []
        for place, (_, _, outbox) in enumerate(self._all):
            if not outbox.waits:
                continue
            is_late = self._lateness.is_late(place, now)
            seconds = _LATE_SECONDS if is_late else FLUSH_SECONDS
            waits.append((place, is_late, outbox.begin_flush(now + seconds)))
        for place, is_late, wait in waits:
            # One that is slow has its whole time again when this one's minute is over.
            if not wait() and not is_late:
                self._lateness.note(place, time.monotonic())
                _log.warning(
                    "error reporter %s: what waited could not be sent within %g s; workers of this cluster"
                    " that end within %g s wait %g s for it",
                    self._all[place][2].name,
                    FLUSH_SECONDS,
                    LATE_FOR,
                    _LATE_SECONDS,
                )

    def flush_at_exit(self) -> None:
        """Have what waits sent before a program ends that runs tasks itself, which nobody else sees to."""
        if not self._flushes_at_exit:
            self._flushes_at_exit = True
            atexit.register(self.flush)

    def _count(self, made: int, lost: int) -> None:
        # Each reporter has a thread of its own.
        with self._lock:
            self.made += made
            self.lost += lost
            self.on_count(made, lost)

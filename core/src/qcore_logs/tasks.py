"""Decides which lines the log has of a task that has run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from qcore.model import Action, Kind
from qcore_logs.records import write
from qcore_logs.setup import TASK_LOG
from qcore_logs.source_line import source_line
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.model import Outcome, Settlement

_log = logging.getLogger(TASK_LOG)

_RUNS_AGAIN: Final = frozenset({Action.RETRY, Action.RELEASE})
#: what becomes of a message whose task does not run again
_FINAL: Final = {Action.ACK: "failed for good", Action.DEAD_LETTER: "dead-lettered"}
#: ends that somebody wanted
_WANTED: Final = {Kind.SKIPPED: (logging.INFO, "skipped"), Kind.CANCELLED: (logging.WARNING, "cancelled")}


class Settled(Protocol):
    """What is needed of a `SettledEvent`."""

    @property
    def task_id(self) -> str:
        """32 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Dotted name of the task."""

    @property
    def kind(self) -> str:
        """How the run ended, a value of `Kind`."""

    @property
    def attempt(self) -> int:
        """Number of the run, from 1."""

    @property
    def seconds(self) -> float | None:
        """How long it took."""


class TaskLog:
    """Writes to the logger `qcore.task`, a line for each run.

    The line of a run that succeeded has the level INFO, which this logger writes only if it is asked
    to; that of a failure is an ERROR if it is final, and a WARNING if the task will run again.
    """

    def __init__(self, cluster: str, *, traces: bool) -> None:
        """Write of tasks of clusters of this name, with the tracebacks of their failures or without."""
        self._cluster = cluster
        self._traces = traces

    @property
    def wants_done(self) -> bool:
        """Whether lines of successes are written."""
        return _log.isEnabledFor(logging.INFO)

    def done(self, event: Settled) -> None:
        """Write that a run has succeeded and is settled."""
        if event.kind != Kind.SUCCESS.value:
            return
        about = self._about(event.task_id, event.name, event.attempt, "done", event.seconds)
        took = "" if event.seconds is None else f" in {_span(event.seconds)}"
        write(_log, logging.INFO, f"task {event.task_id} ({line(event.name)}) done{took}", about)

    def failed(self, task_id: str, name: str, attempt: int, outcome: Outcome, after: Settlement) -> None:
        """Write how a run failed, where, and what becomes of its message."""
        error = line(outcome.error.partition("\n")[0])
        again = after.action in _RUNS_AGAIN
        place = trace = ""
        if outcome.kind in _WANTED:
            level, state = _WANTED[outcome.kind]
            text = f"{state}: {error}"
        else:
            state = next_step(after.action, after.delay)
            text = f"attempt {attempt}: {error}; {state}"
            if again and outcome.delay is not None:
                # What the task asked for itself is not a trouble.
                level = logging.INFO
            else:
                level, trace = logging.WARNING if again else logging.ERROR, outcome.traceback
                place = line(source_line(trace))
        about = self._about(task_id, name, attempt, state, outcome.finished - outcome.started)
        text = f"task {task_id} ({line(name)}) {text}"
        shown = trace.rstrip("\n") if self._traces else ""
        write(_log, level, f"{place}: {text}" if place else text, about, trace=shown)

    def _about(
        self, task_id: str, name: str, attempt: int, state: str, seconds: float | None
    ) -> dict[str, object]:
        about = {"task_id": task_id, "task_name": line(name), "attempt": attempt, "cluster": self._cluster}
        return {**about, "state": state, "seconds": seconds and round(max(0.0, seconds), 6)}


def next_step(action: Action, delay: float) -> str:
    """Return in words what becomes of the message of a failed run."""
    if action not in _RUNS_AGAIN:
        return _FINAL[action]
    return f"will run again in {delay:.3g} s" if delay else "will run again at once"


def _span(seconds: float) -> str:
    """Return a time in milliseconds, or in seconds from one on."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"

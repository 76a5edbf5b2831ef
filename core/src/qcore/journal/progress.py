"""How a task reports its progress."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from qcore.journal.records import HeldMessage

#: The journal of the task that this code is part of; None where tasks are not run by a worker.
PAGE: Final[ContextVar[ReportsProgress | None]] = ContextVar("qcore.page", default=None)


class ReportsProgress(Protocol):
    """The journal of the task that this code is part of."""

    def report_progress(self, done: float, total: float, note: str) -> None:
        """Record the progress of the task."""

    def running_message(self) -> HeldMessage | None:
        """Return the message of the task; None if it has ended."""


def progress(done: float, total: float = 0, note: object = "") -> None:
    """Report how far the running task has come; outside a worker this does nothing.

    A call costs about a microsecond: the numbers are written to shared memory, and the supervisor
    publishes them once a second. A thread that the task starts counts as part of the task if it
    runs in a copy of the task's context, as with `asyncio.to_thread`.

    Args:
        done: how much is done so far.
        total: how much there is to do; 0 = not known.
        note: a text for whoever watches, of which 120 characters are shown.

    Raises:
        TypeError: `done` or `total` is not a number.

    """
    # Checked before anything is written, and outside a worker too, because tasks are tried there.
    part = _number("done", done, "give an int or a float")
    whole = _number("total", total, "0 is not known")
    page = PAGE.get()
    if page is not None:
        page.report_progress(part, whole, "" if note is None else str(note))


def _number(name: str, value: object, fix: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what it refuses is an error below
    except (TypeError, ValueError, OverflowError) as exc:
        msg = f"{name} of progress must be a number, got {value!r:.80} of type {type(value).__name__}; {fix}"
        raise TypeError(msg) from exc

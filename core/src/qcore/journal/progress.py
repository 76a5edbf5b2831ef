"""How a task says how far it has come."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qcore.journal.pages import Page

#: The page of the worker this code runs in; None where tasks are not run by a worker.
PAGE: Final[ContextVar[Page | None]] = ContextVar("qcore.page", default=None)


def progress(done: float, total: float = 0, note: object = "") -> None:
    """Say how far the running task has come; outside a worker it does nothing.

    It costs about a microsecond: the numbers are written to shared memory, from where the
    supervisor publishes them once a second. A thread that the task starts is part of it if it
    is run in a copy of the task's context, as `asyncio.to_thread` does.

    Args:
        done: what is done so far.
        total: what there is to do; 0 = not known.
        note: a word to who watches, of which 120 characters are shown.

    Raises:
        TypeError: what is done, or to do, is no number.

    """
    # Before anything is written, and outside a worker too: there a task is tried.
    part = _number("done", done, "give an int or a float")
    whole = _number("total", total, "0 is not known")
    page = PAGE.get()
    if page is not None:
        page.gauges.advance(*page.place(), part, whole, "" if note is None else str(note))


def _number(name: str, value: object, fix: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what it refuses is told below
    except (TypeError, ValueError, OverflowError) as exc:
        msg = f"{name} of progress must be a number, got {value!r:.80} of type {type(value).__name__}; {fix}"
        raise TypeError(msg) from exc

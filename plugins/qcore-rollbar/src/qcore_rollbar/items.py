"""Decides what an item of Rollbar has of a failure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

from qcore.model import Kind

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport

Level = Literal["debug", "info", "warning", "error", "critical"]

#: Most characters of a text, from its end, and of a title.
_TEXT: Final = 16_384
_TITLE: Final = 255
#: Ends of a run by which other tasks suffer, too.
_CRITICAL: Final = frozenset({Kind.CRASH.value, "supervisor"})


def level(report: ErrorReport) -> Level:
    """Return how bad a failure is, where no filter of the SDK's says so."""
    if report.runs_again:
        return "warning"
    return "critical" if report.kind in _CRITICAL else "error"


def fingerprint(report: ErrorReport) -> str:
    """Return what makes two failures one item: the task and the exception, not its arguments."""
    what = report.task.name or report.task.schedule or report.kind
    text = f"qcore\0{what}\0{report.error_type}".encode("utf-8", "backslashreplace")
    # Rollbar takes forty characters as they are.
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def custom(report: ErrorReport, *, send_arguments: bool) -> dict[str, Any]:
    """Return what is shown beside the item."""
    task = report.task
    found: dict[str, Any] = {
        "task": task.name,
        "id": task.id,
        "attempt": task.attempt,
        "runs_again": report.runs_again,
        "action": report.action,
        "kind": report.kind,
        "queue": task.queue,
        "cluster": report.cluster,
        "label": report.label,
        "worker": report.worker,
        "group": task.group,
        "schedule": task.schedule,
        "summary": report.summary,
    }
    if send_arguments:
        found["args"], found["kwargs"] = list(task.args), dict(task.kwargs)
    return {name: value for name, value in found.items() if value not in (None, "")}


def body(report: ErrorReport) -> dict[str, Any]:
    """Return the body of a failure that has no exception, or one that cannot be shown."""
    if report.stack:
        kind, _, message = report.summary.partition(": ")
        frames = [{"filename": file, "lineno": line, "method": name} for file, line, name in report.stack]
        return {"trace": {"frames": frames, "exception": {"class": kind, "message": message}}}
    return {"message": {"body": report.text[-_TEXT:] or report.summary}}


def title(report: ErrorReport) -> str:
    """Return the title of a failure that has no exception."""
    what = report.task.name or report.task.schedule or report.kind
    return f"{what}: {report.summary}"[:_TITLE]

"""Decides what an event of Sentry has of a failure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from sentry_sdk.utils import event_from_exception

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport

#: Most characters of a traceback, from its end.
_TEXT: Final = 16_384
_MECHANISM: Final = {"type": "qcore", "handled": False}


def make_event(
    report: ErrorReport, options: dict[str, Any], *, send_arguments: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the event of a report, and the hint that integrations get with it."""
    event: dict[str, Any]
    hint: dict[str, Any] = {}
    if report.error is not None:
        wanted = {**options, "include_local_variables": send_arguments}
        event, hint = event_from_exception(report.error, client_options=wanted, mechanism=dict(_MECHANISM))  # type: ignore[assignment]  # an Event is a dict
    else:
        event = {"exception": {"values": [_exception(report)]}}
    task = report.task
    event["level"] = "warning" if report.runs_again else "error"
    event["fingerprint"] = fingerprint(report)
    if task.name:
        event["transaction"] = task.name
    event["tags"] = {
        name: text
        for name, text in {
            "qcore.task": task.name,
            "qcore.schedule": task.schedule,
            "qcore.queue": task.queue,
            "qcore.cluster": report.cluster,
            "qcore.label": report.label,
            "qcore.kind": report.kind,
            "qcore.action": report.action,
        }.items()
        if text
    }
    event["contexts"] = {"qcore": _context(report, send_arguments=send_arguments)}
    return event, hint


def fingerprint(report: ErrorReport) -> list[str]:
    """Return what makes two failures one issue: the task and the exception, not its arguments."""
    what = report.task.name or report.task.schedule or report.kind
    return ["qcore", what, report.error_type]


def _exception(report: ErrorReport) -> dict[str, Any]:
    kind, _, value = report.summary.partition(": ")
    found: dict[str, Any] = {"type": kind, "value": value, "mechanism": dict(_MECHANISM)}
    if report.stack:
        found["stacktrace"] = {"frames": [_frame(*one) for one in report.stack]}
    return found


def _frame(file: str, line: int, function: str) -> dict[str, Any]:
    return {
        "abs_path": file,
        "filename": file.rpartition("/")[2],
        "lineno": line,
        "function": function,
        "in_app": not file.startswith(sys.prefix) and "site-packages" not in file,
    }


def _context(report: ErrorReport, *, send_arguments: bool) -> dict[str, Any]:
    task = report.task
    found: dict[str, Any] = {
        "id": task.id,
        "attempt": task.attempt,
        "runs_again": report.runs_again,
        "group": task.group,
        "worker": report.worker,
        "summary": report.summary,
    }
    if report.error is None:
        found["text"] = report.text[-_TEXT:]
    if send_arguments:
        found["args"], found["kwargs"] = list(task.args), dict(task.kwargs)
    return found

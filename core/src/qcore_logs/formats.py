"""Decides how a log line looks, as text and as JSON."""

from __future__ import annotations

import json
import logging
import textwrap
from datetime import UTC, datetime
from typing import Any, Final

from qcore_logs.records import FIELDS
from qcore_text.sanitize import clean

#: what each record has; anything else comes from `extra` of whoever logs
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", *FIELDS}


class TextFormatter(logging.Formatter):
    """One line with time, level and logger, and the task if there is one; a traceback is below it.

    Control characters are removed, because names and errors of tasks may contain anything.
    """

    def __init__(self, fmt: str = "%(asctime)s %(levelname)-7s %(name)s  %(message)s") -> None:
        super().__init__(fmt)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; the lines of a traceback are indented."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record)
        task_id = str(getattr(record, "task_id", ""))
        if task_id and task_id not in record.message:
            record.message += f"  [task {task_id} ({getattr(record, 'task_name', '')})]"
        below = [clean(one) for one in (_exception(self, record), record.stack_info) if one]
        return "\n".join([clean(self.formatMessage(record)), *(textwrap.indent(one, "  ") for one in below)])


class JsonFormatter(logging.Formatter):
    """One object of JSON in a line.

    It has `time` (RFC 3339, UTC), `level`, `logger`, `message`, `process`; within a task `task_id`,
    `task_name`, `attempt` and `cluster`; after an error `exception`; and whatever the line was given
    with `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of a record, in ASCII, so that nothing in it ends the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if getattr(record, "task_id", ""):
            found |= {name: vars(record).get(name) for name in FIELDS}
        if text := _exception(self, record):
            found["exception"] = text
        if record.stack_info:
            found["stack"] = record.stack_info
        found |= {key: value for key, value in vars(record).items() if key not in _OWN and key not in found}
        try:
            return json.dumps(found, default=str, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            # A key of another type, a number that JSON does not have, an object that holds itself.
            plain = {key: one if _is_plain(one) else repr(one) for key, one in found.items()}
            return json.dumps(plain, skipkeys=True)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback of a record, which handlers share."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text or ""

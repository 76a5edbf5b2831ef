"""Decides what a log record says of a task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: the attributes that each record has: of the task that wrote the line, or that it is about
FIELDS: Final[dict[str, Any]] = {"task_id": "", "task_name": "", "attempt": 0, "cluster": ""}


class TaskFilter(logging.Filter):
    """Gives each record `task_id`, `task_name`, `attempt` and `cluster` of the running task.

    Outside of a task they are empty, and `attempt` is 0. What a record has already is not changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._current: Callable[[], Any] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record, and let it pass."""
        found = vars(record)
        if not FIELDS.keys() <= found.keys():
            task = self._running()
            about = FIELDS if task is None else _about(task)
            found.update({name: value for name, value in about.items() if name not in found})
        return True

    def _running(self) -> Any:  # noqa: ANN401 - a `qcore.CurrentTask`, or None
        if self._current is None:
            # A logging configuration names this class, and may be read while qcore is imported.
            from qcore import current  # noqa: PLC0415 - see above

            self._current = current
        return self._current()


def _about(task: Any) -> dict[str, Any]:  # noqa: ANN401 - see above
    return {"task_id": task.id, "task_name": task.name, "attempt": task.attempt, "cluster": task.cluster}


def write(
    log: logging.Logger,
    level: int,
    text: str,
    about: Mapping[str, object],
    *,
    args: tuple[object, ...] = (),
    trace: str = "",
) -> None:
    """Write a line about a task, which need not be the one that runs here.

    Args:
        log: the logger.
        level: as in `logging`.
        text: the message.
        about: `FIELDS` of the task, and further fields of the object with `log_format = "json"`.
        args: what is put into the message, as `logging` does it.
        trace: the traceback of a failed run.

    """
    if not log.isEnabledFor(level):
        return
    file, number, function, _ = log.findCaller(stacklevel=2)
    record = log.makeRecord(log.name, level, file, number, text, args, None, function)
    # As `extra` they would be refused where a record factory of the program sets one of them.
    vars(record).update(about)
    # Every formatter writes it below the message.
    record.exc_text = trace or None
    log.handle(record)

"""Decides which handlers and levels the loggers of a process have."""

from __future__ import annotations

import logging
from typing import Final, Protocol, TextIO

from qcore_logs.formats import JsonFormatter, TextFormatter
from qcore_logs.records import TaskFilter

#: the logger with a line for each task that is done
TASK_LOG: Final = "qcore.task"
_ALL: Final = "qcore"


class LogSettings(Protocol):
    """The settings of a configuration that decide about logs."""

    @property
    def log_level(self) -> str:
        """Lowest level that is written."""

    @property
    def log_format(self) -> str:
        """`text` or `json`."""

    @property
    def log_tasks(self) -> bool:
        """Whether each task that is done has a line."""


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that is there if the program has none."""


def configure(settings: LogSettings) -> None:
    """Write log lines to standard error, unless the program has configured logging."""
    if not logging.getLogger(_ALL).hasHandlers():
        handler = _Handler()
        handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
        logging.basicConfig(handlers=[handler], level=settings.log_level)
    logging.getLogger(_ALL).setLevel(settings.log_level)
    complete(settings)


def complete(settings: LogSettings) -> None:
    """Make good what modules have changed that were imported since: they may configure logging too.

    A second call changes nothing.
    """
    respect_program()
    for handler in {one for logger in _loggers() for one in logger.handlers}:
        if not any(isinstance(one, TaskFilter) for one in handler.filters):
            # The first one, so that filters of the program can use what it adds.
            handler.filters.insert(0, TaskFilter())
    tasks = logging.getLogger(TASK_LOG)
    if settings.log_tasks:
        wanted = logging.INFO
    else:
        # A line for each task is for who asks for it, or for everything.
        level = logging.getLogger(_ALL).getEffectiveLevel()
        wanted = logging.WARNING if logging.INFO <= level < logging.WARNING else logging.NOTSET
    if tasks.level == logging.NOTSET:
        tasks.setLevel(wanted)


def respect_program() -> None:
    """Undo what a logging configuration did not mean that was written for processes that begin with it."""
    for logger in _loggers():
        if f"{logger.name}.".startswith(f"{_ALL}."):
            # `disable_existing_loggers` is true where nothing else is said.
            logger.disabled = False
    if logging.getLogger(_ALL).handlers:
        for handler in list(logging.root.handlers):
            if isinstance(handler, _Handler):
                logging.root.removeHandler(handler)


def _loggers() -> list[logging.Logger]:
    found = logging.root.manager.loggerDict.values()
    return [logging.root, *(one for one in found if isinstance(one, logging.Logger))]

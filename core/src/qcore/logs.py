"""Decides how log lines look if the program does not configure logging."""

from __future__ import annotations

import logging

from qcore.sanitize import clean


class SanitizingFormatter(logging.Formatter):
    """Removes terminal control characters, because names and errors of tasks may contain anything."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; a traceback keeps its line ends."""
        return clean(super().format(record))


def configure_logging(level: str) -> None:
    """Write log lines to standard error, unless the program has configured logging."""
    if not logging.getLogger("qcore").hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(SanitizingFormatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
        logging.basicConfig(handlers=[handler], level=level)
    logging.getLogger("qcore").setLevel(level)

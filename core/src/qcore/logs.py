"""How log lines are written unless the program sets up logging itself."""

from __future__ import annotations

import logging

from qcore.sanitize import clean


class Harmless(logging.Formatter):
    """Leaves out what a terminal would obey: texts of tasks and of their errors are anybody's."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, a traceback with its line ends."""
        return clean(super().format(record))


def configure_logging(level: str) -> None:
    """Write log lines to standard error unless the program has set up logging itself."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(Harmless("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
        logging.basicConfig(handlers=[handler], level=level)
    logging.getLogger("qcore").setLevel(level)

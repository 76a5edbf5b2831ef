"""Log lines that leave a terminal as it is."""

from __future__ import annotations

import logging
import subprocess
import sys

from qcore.logs import SanitizingFormatter

#: sets the title, clears the screen, writes to the clipboard, goes back in the line, turns text round
HOSTILE = "\x1b]0;PWNED\x07a\x1b[2Jb\x1b]52;c;eA==\x07c\rd\u202ee\x9b31mf"

PROGRAM = f"""
import logging
from qcore.logs import configure_logging
configure_logging("INFO")
try:
    raise ValueError({HOSTILE!r})
except ValueError:
    logging.getLogger("qcore.worker").exception("it failed with %s", {HOSTILE!r})
"""


def test_a_terminal_obeys_nothing_in_a_log_line() -> None:
    """Escape sequences, carriage returns and changes of direction are left out."""
    record = logging.LogRecord("qcore.worker", logging.WARNING, "", 0, "%s", (HOSTILE,), None)

    assert SanitizingFormatter("%(message)s").format(record) == "abcdef"


def test_a_traceback_keeps_its_lines_and_loses_the_rest() -> None:
    """The handler that qcore sets up cleans what a task's error says, too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert "it failed with abcdef\nTraceback (most recent call last):\n" in done.stderr
    assert done.stderr.endswith("ValueError: abcdef\n")


CONFIGURED = """
import logging
from qcore.logs import configure_logging
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("mine %(message)s"))
logging.getLogger("qcore").addHandler(handler)
configure_logging("INFO")
logging.getLogger("qcore.worker").warning("once")
"""


def test_a_handler_of_the_program_for_qcore_is_enough() -> None:
    """No second handler writes each line again."""
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stderr == "mine once\n"

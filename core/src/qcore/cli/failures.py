"""What an error that ends a command prints, and its exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

import click

from qcore.cli.exit_codes import Exit, exit_of
from qcore.cli.text import say
from qcore.errors import BackendUnavailable, ModuleFailed, QcoreError
from qcore_text import wording
from qcore_text.sanitize import clean

#: set to anything but nothing or 0: errors come with their traceback
DEBUG: Final = "QCORE_DEBUG"


def explain(error: BaseException) -> int:
    """Print what an error means to the user, and return the exit code for it."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.UsageError():
            error.show()
            return Exit.USAGE
        case click.ClickException():
            return _complain(error.format_message(), Exit.FAILED, error)
        case click.Abort() | KeyboardInterrupt():
            say("qcore: interrupted", error=True)
            return Exit.INTERRUPTED
        case ModuleFailed():
            say(clean(error.trace), error=True)
            return _complain(str(error), Exit.FAILED, error)
        case BackendUnavailable() if "does not answer" in str(error):
            # The commonest reason is that it was not started, or listens elsewhere.
            doctor = wording.typed("doctor")
            todo = "" if "; start it" in str(error) else "start it, or correct its address; "
            where = f"{todo}`{doctor}` names the file that has it"
            return _complain(f"{error}; {where}", exit_of(error), error)
        case QcoreError():
            return _complain(str(error), exit_of(error), error)
        case BrokenPipeError():
            # Whoever read our output has seen enough; nothing more can be said to them, at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.FAILED
        case _:
            fault = (
                f"a fault of qcore's own: {wording.reason(error)}; {DEBUG}=1 shows where, please report it"
            )
            return _complain(fault, Exit.SOFTWARE, error)


def _complain(text: str, code: Exit, error: BaseException) -> Exit:
    if os.environ.get(DEBUG, "0") not in {"", "0"}:
        say(clean("".join(traceback.format_exception(error))), error=True)
    say(f"qcore: {clean(text)}", error=True)
    return code

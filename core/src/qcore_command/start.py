"""What an early or late Ctrl-C does to the command `qcore`."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

#: exit code of what Ctrl-C has interrupted
_INTERRUPTED = 130
_STDERR = 2


def main() -> None:
    """Run the command line; Ctrl-C while it is imported or has ended shows no traceback."""
    # Where SIGINT is ignored, as in the background of a script, it stays ignored.
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled:
        signal.signal(signal.SIGINT, _interrupted)
    # The import takes most of the time that a short command runs.
    from qcore.cli import main as command_line  # noqa: PLC0415 - see above

    try:
        command_line(begin=_raise_again if handled else None)
    finally:
        if handled:
            signal.signal(signal.SIGINT, _interrupted)


def _raise_again() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = partial(_unraisable, sys.unraisablehook, os.getpid())


def _unraisable(otherwise: Callable[[Any], object], pid: int, what: Any) -> None:  # noqa: ANN401 - of sys
    # A KeyboardInterrupt amid a destructor or the callback of a weak reference is dropped. Processes that
    # are forked from this one have their own.
    if what.exc_type is KeyboardInterrupt and os.getpid() == pid:
        _interrupted()
    otherwise(what)


def _interrupted(*_: object) -> NoReturn:
    os.write(_STDERR, b"qcore: interrupted\n")
    os._exit(_INTERRUPTED)

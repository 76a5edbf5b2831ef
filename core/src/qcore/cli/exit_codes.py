"""What each exit code means."""

from __future__ import annotations

import enum

from qcore.errors import (
    BackendUnavailable,
    ConfigError,
    PluginError,
    QcoreError,
    ResultGone,
    ResultNotReady,
    TaskNameError,
)


class Exit(enum.IntEnum):
    """The exit codes; numbers above 64 are those of sysexits.h."""

    OK = 0
    #: what was asked for failed: a task failed, your module cannot be imported, nothing has that id
    FAILED = 1
    #: the command line cannot be understood
    USAGE = 2
    #: the broker or store does not answer, or there is no queue
    UNAVAILABLE = 69
    #: a fault in qcore itself
    SOFTWARE = 70
    #: the task has no final result yet
    NOT_YET = 75
    #: the configuration is not valid, or a plugin it needs cannot be used
    CONFIG = 78
    #: interrupted by Ctrl-C
    INTERRUPTED = 130


def exit_of(error: QcoreError) -> Exit:
    """Return the code for an error that ended a command."""
    match error:
        case BackendUnavailable():
            return Exit.UNAVAILABLE
        case ConfigError() | PluginError():
            return Exit.CONFIG
        case ResultGone():
            return Exit.FAILED
        case ResultNotReady():
            return Exit.NOT_YET
        case TaskNameError():
            return Exit.USAGE
        case _:
            return Exit.FAILED

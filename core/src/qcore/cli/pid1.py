"""What the first process of a container does for the others."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

#: signals that are passed on to the cluster
_PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def stand_by() -> None:
    """Fork; return in the child, while the parent reaps orphans and passes signals on.

    Whatever a task's processes leave behind becomes a child of the first process. A supervisor
    that reaped strangers would take the status of children it, or a plugin, waits for.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child:
        _look_after(child)
    # A terminal's Ctrl-C goes to its foreground group: it must come once, from the first process.
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)


def _look_after(child: int) -> None:
    """Be the init of this container until `child` ends, and end as it did."""

    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):  # it has just ended, and this process ends as it did
            os.kill(child, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)

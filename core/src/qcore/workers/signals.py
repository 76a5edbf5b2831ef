"""The signals a worker heeds, whatever its tasks do to them."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.worker")

#: Signals a worker has handlers for.
_OURS: Final = (signal.SIGTERM, signal.SIGALRM)


class SignalHandlers:
    """Sets a worker's handlers, and puts them back after tasks and in what tasks fork."""

    def __init__(self, on_stop: Callable[..., None]) -> None:
        self._on_stop = on_stop
        self._alarm: Callable[..., None] = pass_over
        #: of each thread that is just forking, the signal mask it had
        self._forking = threading.local()
        signal.signal(signal.SIGINT, pass_over)
        signal.signal(signal.SIGTERM, on_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def ring(self, alarm: Callable[..., None]) -> None:
        """Have the alarm interrupt tasks."""
        self._alarm = alarm
        signal.signal(signal.SIGALRM, alarm)

    def look_after_forks(self) -> None:
        """Have the children of tasks be ordinary processes."""
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._be_ordinary
        )

    def tidy(self) -> None:
        """Put back what tasks may have changed and the next ones rely on."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, ours in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGALRM, self._alarm),
            (signal.SIGINT, pass_over),
        ):
            if signal.getsignal(number) != ours:
                _log.warning("a task changed the handler of %s; it is put back", number.name)
                signal.signal(number, ours)

    def _before_fork(self) -> None:
        """Hold back signals until the child of a task has become an ordinary process."""
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)

    def _be_ordinary(self) -> None:
        """Let a child that a task forks take signals as any process does: it could not be terminated else."""
        for number, ours, ordinary in (
            (signal.SIGTERM, self._on_stop, signal.SIG_DFL),
            (signal.SIGALRM, self._alarm, signal.SIG_DFL),
            (signal.SIGINT, pass_over, signal.default_int_handler),
        ):
            # What the task has set for its children stays.
            if signal.getsignal(number) == ours:
                signal.signal(number, ordinary)
        self._after_fork()


def pass_over(*_: object) -> None:
    """Take no notice of a signal; unlike an ignored one it is not ignored by programs a task runs."""

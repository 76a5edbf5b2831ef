"""The signal handlers of a worker, whatever its tasks do to them."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from qcore_process import stack_dump

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.worker")

#: Signals a worker has handlers for.
_OURS: Final = (signal.SIGTERM, signal.SIGALRM)

# Without the enumerations that the functions of `signal` make of what they take and return: a worker asks
# after each batch, and for a handler that is a function a member is looked for in vain, which raises.
set_handler: Final[Callable[[int, Any], object]] = _signal.signal
#: the handler of a signal that has none, as `set_handler` takes it
DEFAULT: Final[object] = _signal.SIG_DFL
_handler_of: Final[Callable[[int], object]] = _signal.getsignal
_set_mask: Final[Callable[..., object]] = _signal.pthread_sigmask


class SignalHandlers:
    """Sets a worker's handlers, restores them after tasks, and resets them in children of tasks."""

    def __init__(self, on_stop: Callable[..., None]) -> None:
        self._on_stop = on_stop
        self._alarm: Callable[..., None] = ignore
        #: the signal mask of each thread that is about to fork
        self._forking = threading.local()
        set_handler(signal.SIGINT, ignore)
        set_handler(signal.SIGTERM, on_stop)
        _set_mask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        stack_dump.enable()

    def set_alarm(self, alarm: Callable[..., None]) -> None:
        """Have SIGALRM call `alarm`, which interrupts tasks."""
        self._alarm = alarm
        set_handler(signal.SIGALRM, alarm)

    def reset_in_forks(self) -> None:
        """Give children that tasks fork the signal handlers of an ordinary process."""
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._reset_child
        )

    def restore(self) -> None:
        """Restore the mask and the handlers that a task may have changed."""
        _set_mask(signal.SIG_SETMASK, ())
        for number, ours in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGALRM, self._alarm),
            (signal.SIGINT, ignore),
        ):
            if _handler_of(number) != ours:
                _log.warning("a task changed the handler of %s; it is restored", number.name)
                signal.signal(number, ours)

    def _before_fork(self) -> None:
        """Block signals until the child has the handlers of an ordinary process."""
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)

    def _reset_child(self) -> None:
        """Reset the handlers in a child that a task forks, which could not be terminated otherwise."""
        for number, ours, ordinary in (
            (signal.SIGTERM, self._on_stop, signal.SIG_DFL),
            (signal.SIGALRM, self._alarm, signal.SIG_DFL),
            (signal.SIGINT, ignore, signal.default_int_handler),
        ):
            # Handlers that the task has set for its children stay.
            if signal.getsignal(number) == ours:
                signal.signal(number, ordinary)
        self._after_fork()


def ignore(*_: object) -> None:
    """Do nothing on a signal; unlike SIG_IGN this is not inherited by programs that a task runs."""

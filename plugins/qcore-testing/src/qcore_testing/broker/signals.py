"""A wait is interrupted."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from qcore_testing.broker.base import BrokerTests
from qcore_testing.contract import Stopwatch

if TYPE_CHECKING:
    from qcore_testing.broker.base import MakeBroker


class Rung(Exception):
    """Raised by a signal handler, as an error."""


class Struck(BaseException):
    """Raised by a signal handler, as the timeout of a task is."""


class SignalRules(BrokerTests):
    """What a signal does to `Broker.lease`."""

    @pytest.mark.parametrize("raised", [Rung, Struck, KeyboardInterrupt])
    def test_a_signal_gets_out_of_the_wait(self, new: MakeBroker, raised: type[BaseException]) -> None:
        """A signal that raises in the waiting thread gets out."""
        broker = new()
        # interrupted is the wait, not the making of a connection, which nobody could close then
        broker.size()

        def ring(*_: object) -> None:
            raise raised

        before = signal.signal(signal.SIGUSR1, ring)
        main = threading.main_thread().ident or 0
        alarm = threading.Timer(self.time_unit, signal.pthread_kill, (main, signal.SIGUSR1))
        since = Stopwatch()
        try:
            alarm.start()
            with pytest.raises(raised):
                broker.lease(1, 2 * self.timeout)
        finally:
            alarm.join()
            signal.signal(signal.SIGUSR1, before)

        self.soon(since)
        self.put(new(), b"still here")
        assert self.one(new()).body == b"still here"

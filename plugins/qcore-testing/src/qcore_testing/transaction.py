"""Whether messages are enqueued by a transaction of the caller's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from qcore.errors import BackendRejected
from qcore_testing.broker.base import BrokerTests, bodies, message, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker


class Caller(Protocol):
    """A program's own access to the database that the queue is in."""

    @property
    def connection(self) -> Any:  # noqa: ANN401 - of any library
        """What the program gives as the option `connection`."""

    def begin(self) -> None:
        """Begin a transaction."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Roll it back."""

    def close(self) -> None:
        """Close the connection."""


class TransactionContract(BrokerTests):
    """What `Broker.enqueue_on` must keep to.

    Override the fixtures `make`, which is that of `BrokerContract`, and `connect`: it returns a
    function that returns a new `Caller` without a transaction.
    """

    @pytest.fixture
    def connect(self) -> Callable[[], Caller]:
        """Return a maker of connections of a program; to be overridden."""
        pytest.fail(f"{type(self).__name__} must override the fixture `connect`, see its docstring")

    def test_it_is_claimed(self, new: MakeBroker) -> None:
        """`enqueue_on` enqueues as part of a transaction of the caller's."""
        assert new().capabilities.joins_transactions

    def test_nothing_is_seen_before_the_commit(self, new: MakeBroker, connect: Callable[[], Caller]) -> None:
        """They can be leased once the transaction is committed, and are gone with its rollback."""
        broker, caller = new(), connect()
        caller.begin()
        broker.enqueue_on(caller.connection, [message(body) for body in numbered(3)])
        self.nothing(broker)
        assert broker.size().ready == 0
        caller.commit()
        first = bodies(self.some(broker, 3))

        caller.begin()
        broker.enqueue_on(caller.connection, [message(b"gone")])
        caller.rollback()
        caller.begin()
        broker.enqueue_on(caller.connection, [])
        broker.enqueue_on(caller.connection, [message(b"kept")])
        broker.enqueue_on(caller.connection, [message(b"kept too"), message(b"later", delay=60.0)])
        caller.commit()
        caller.close()

        assert numbered(3) == first
        assert bodies(self.some(broker, 2)) == [b"kept", b"kept too"]
        self.nothing(broker)
        assert broker.size().delayed == 1

    def test_a_commit_wakes_who_waits(self, new: MakeBroker, connect: Callable[[], Caller]) -> None:
        """They can be leased once the transaction is committed, and are gone with its rollback."""
        broker, waiting, caller = new(), new(), connect()
        skip_unless(broker.capabilities.long_poll, "does not wait in the backend")
        caller.begin()
        broker.enqueue_on(caller.connection, [message(b"woken")])
        found: list[bytes] = []
        # longer than it may take: at the end of its wait it finds the message in any case
        wait = 3 * self.timeout
        thread = threading.Thread(target=lambda: found.extend(bodies(waiting.lease(1, wait))))
        thread.start()
        # it is to be found by who waits already, and not by who comes just then
        self.let_pass(2 * self.time_unit)
        since = Stopwatch()
        caller.commit()
        thread.join()
        caller.close()

        assert found == [b"woken"]
        self.soon(since)

    def test_a_connection_of_no_use_is_refused(self, new: MakeBroker, connect: Callable[[], Caller]) -> None:
        """A connection that is closed, has no transaction or leads to another database is refused.

        A connection that is closed, has no transaction or leads to another database is refused
        with `BackendRejected`, and nothing is enqueued.
        """
        broker, caller = new(), connect()
        caller.begin()
        broker.enqueue_on(caller.connection, [message(b"kept")])
        caller.commit()
        connection = caller.connection
        caller.close()

        _refuse(broker, connection)
        _refuse(broker, object())

        assert bodies(self.some(broker, 1)) == [b"kept"]
        self.nothing(broker)


def _refuse(broker: Broker, connection: object) -> None:
    with pytest.raises(BackendRejected):
        broker.enqueue_on(connection, [message(b"lost")])

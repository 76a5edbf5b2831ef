"""Whether a task's own statements and its settlement are one transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import pytest

from qcore.errors import BackendRejected
from qcore.model import Action, Settlement, State, StoredResult
from qcore_testing.broker.base import BrokerTests, bodies, message

if TYPE_CHECKING:
    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Delivery
    from qcore_testing.commit import MakePair

ID = bytes(range(16))


def result(state: State = State.SUCCESS) -> StoredResult:
    """Return a result."""
    return StoredResult(ID, state, b"body", "a.task")


class TaskTransactionContract(BrokerTests):
    """What `Broker.begin_transaction` and its two ends must keep to.

    Override the fixture `make`: it makes a broker and a result store with one `transaction_domain`.
    A task's own statement is here an `enqueue_on` by the connection of the transaction.
    """

    #: nobody else writes while it is open, so no lease can be lost meanwhile
    shuts_out_others: ClassVar[bool] = False

    def _leased(self, new: MakePair) -> tuple[Broker, ResultStore, Delivery]:
        broker, store = new()
        self.put(broker, b"task")
        return broker, store, self.one(broker)

    def test_it_is_claimed(self, new: MakePair) -> None:
        """`begin_transaction` begins a transaction that a task's own statements and its end share."""
        assert new()[0].capabilities.settles_in_transactions

    def test_all_of_it_is_committed_together(self, new: MakePair) -> None:
        """What the task has written, its results and its settlement are durable together, or none is."""
        broker, store, leased = self._leased(new)
        other, _ = new()
        connection = broker.begin_transaction(leased.receipt)
        broker.enqueue_on(connection, [message(b"written")])
        assert store.get([ID]) == [None]
        assert (other.size().ready, other.size().leased) == (0, 1)

        assert broker.commit_transaction(store, [result()], Settlement(leased.receipt))

        (saved,) = store.get([ID])
        assert saved is not None
        assert saved.state is State.SUCCESS
        assert bodies(self.some(other, 1)) == [b"written"]
        self.nothing(other)

    def test_a_message_can_be_redelivered_with_it(self, new: MakePair) -> None:
        """A settlement RETRY in it is as durable as the rest."""
        broker, store, leased = self._leased(new)
        broker.enqueue_on(broker.begin_transaction(leased.receipt), [message(b"written")])

        again = Settlement(leased.receipt, Action.RETRY, failures=1, crashes=2)
        assert broker.commit_transaction(store, [result(State.RETRYING)], again)

        found = self.some(broker, 2)
        assert sorted(bodies(found)) == [b"task", b"written"]
        (task,) = (one for one in found if one.body == b"task")
        assert (task.deliveries, task.failures, task.crashes) == (2, 1, 2)

    def test_a_rollback_leaves_the_lease(self, new: MakePair) -> None:
        """Roll back the transaction that was begun; the lease goes on."""
        broker, store, leased = self._leased(new)
        broker.rollback_transaction()
        broker.enqueue_on(broker.begin_transaction(leased.receipt), [message(b"gone")])
        broker.rollback_transaction()
        broker.rollback_transaction()

        self.nothing(broker)
        assert broker.size().leased == 1
        broker.settle([Settlement(leased.receipt)])
        assert broker.size().leased == 0
        assert store.get([ID]) == [None]

    def test_a_lease_that_was_lost_takes_all_of_it_along(self, new: MakePair) -> None:
        """If the lease has passed to another everything is rolled back, and it returns False."""
        if self.shuts_out_others:
            pytest.skip("nobody else writes meanwhile")
        broker, store, leased = self._leased(new)
        other, _ = new()
        connection = broker.begin_transaction(leased.receipt)
        other.settle([Settlement(leased.receipt, Action.RELEASE)])
        assert self.one(other).receipt != leased.receipt
        broker.enqueue_on(connection, [message(b"gone")])

        assert not broker.commit_transaction(store, [result()], Settlement(leased.receipt))

        assert store.get([ID]) == [None]
        self.nothing(other)
        assert other.size().leased == 1

    def test_a_lease_that_was_lost_before_is_refused(self, new: MakePair) -> None:
        """A receipt whose lease has passed to another is refused with `BackendRejected`."""
        broker, store, leased = self._leased(new)
        broker.settle([Settlement(leased.receipt, Action.RELEASE)])
        second = self.one(broker)

        for receipt in (leased.receipt, b"", b"none that ever was"):
            with pytest.raises(BackendRejected):
                broker.begin_transaction(receipt)

        broker.begin_transaction(second.receipt)
        assert broker.commit_transaction(store, (), Settlement(second.receipt))
        assert broker.size().leased == 0

    def test_what_was_not_ended_is_rolled_back(self, new: MakePair) -> None:
        """One that was begun before and has not been ended is rolled back."""
        broker, store, leased = self._leased(new)
        broker.enqueue_on(broker.begin_transaction(leased.receipt), [message(b"gone")])
        broker.enqueue_on(broker.begin_transaction(leased.receipt), [message(b"kept")])

        assert broker.commit_transaction(store, (), Settlement(leased.receipt))

        assert bodies(self.some(broker, 1)) == [b"kept"]
        self.nothing(broker)

    def test_a_commit_without_a_transaction_is_refused(self, new: MakePair) -> None:
        """An error that is `BackendRejected` has rolled everything back.

        An error that is `BackendRejected` has rolled everything back; after `BackendUnavailable`
        a settlement with the same receipt changes nothing if the transaction was committed.
        """
        broker, store, leased = self._leased(new)
        with pytest.raises(BackendRejected):
            broker.commit_transaction(store, [result()], Settlement(leased.receipt))
        assert store.get([ID]) == [None]
        broker.enqueue_on(broker.begin_transaction(leased.receipt), [message(b"written")])
        assert broker.commit_transaction(store, (), Settlement(leased.receipt))

        broker.settle([Settlement(leased.receipt, Action.RETRY)])

        assert bodies(self.some(broker, 1)) == [b"written"]
        self.nothing(broker)

    def test_a_task_without_a_lease_has_one_too(self, new: MakePair) -> None:
        """It is committed with the end of the block, and rolled back by an exception that leaves it."""
        broker, _ = new()
        other, _ = new()
        with broker.lend_transaction() as connection:
            broker.enqueue_on(connection, [message(b"kept")])
            # in this thread a database may be asked by the connection that is lent
            with ThreadPoolExecutor(1) as elsewhere:
                assert elsewhere.submit(other.size).result().ready == 0
        assert bodies(self.some(other, 1)) == [b"kept"]

        def fail() -> None:
            with broker.lend_transaction() as connection:
                broker.enqueue_on(connection, [message(b"gone")])
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with broker.lend_transaction() as connection:
            broker.enqueue_on(connection, [message(b"kept too")])
        assert bodies(self.some(other, 1)) == [b"kept too"]
        self.nothing(other)

"""What goes wrong in shared transactions is found."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import pytest

from qcore.errors import BackendError, BackendRejected
from qcore.interfaces import Settings
from qcore.model import Settlement
from qcore_sql import SqlBroker, SqlResults, SqlSettings
from qcore_sql.messages import put
from qcore_testing import TaskTransactionContract, TransactionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.model import Outgoing

#: what a test says of something broken
SAID: Final = (AssertionError, BackendError, pytest.fail.Exception)


class WritesApart(SqlBroker):
    """Writes by a connection of its own."""

    def enqueue_on(self, connection: Any, messages: Sequence[Outgoing]) -> None:
        """Do not look at the connection."""
        with self._database.joined(connection):
            self.enqueue(messages)


class TakesAnyConnection(SqlBroker):
    """Writes by a connection of its own where the other one is of no use."""

    def enqueue_on(self, connection: Any, messages: Sequence[Outgoing]) -> None:
        """Swallow the error."""
        try:
            super().enqueue_on(connection, messages)
        except BackendRejected:
            self.enqueue(messages)


class WakesNobody(SqlBroker):
    """Forgets who waits."""

    def enqueue_on(self, connection: Any, messages: Sequence[Outgoing]) -> None:
        """Write, and no more."""
        with self._database.joined(connection) as session:
            put(session, self._queue, messages)


class ClaimsNothing(SqlBroker):
    """Does it and does not say so."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        none = {"joins_transactions": False, "settles_in_transactions": False}
        self.capabilities = attrs.evolve(self.capabilities, **none)


class SavesTheLate(SqlBroker):
    """Stores the result of a task whose lease is lost."""

    def commit_transaction(self, store: Any, results: Any, settlement: Any) -> bool:
        """Save it by another connection."""
        if not (done := super().commit_transaction(store, results, settlement)):
            store.save(results)
        return done


class SettlesAlways(SqlBroker):
    """Does without a transaction where there is none."""

    def commit_transaction(self, store: Any, results: Any, settlement: Any) -> bool:
        """Swallow the error."""
        try:
            return super().commit_transaction(store, results, settlement)
        except BackendRejected:
            store.save(results)
            self.settle([settlement])
            return True


class AcknowledgesAlways(SqlBroker):
    """Takes each end for a success."""

    def commit_transaction(self, store: Any, results: Any, settlement: Any) -> bool:
        """Acknowledge."""
        return super().commit_transaction(store, results, Settlement(settlement.receipt))


class RollsBackTheLease(SqlBroker):
    """Ends the lease with the transaction."""

    def begin_transaction(self, receipt: bytes) -> Any:
        """Remember whose it is."""
        self.__dict__["begun"] = receipt
        return super().begin_transaction(receipt)

    def rollback_transaction(self) -> None:
        """Acknowledge."""
        super().rollback_transaction()
        self.settle([Settlement(self.__dict__.get("begun", b""))])


class BeginsForAnybody(SqlBroker):
    """Does not look whether the lease is there."""

    def begin_transaction(self, receipt: bytes) -> Any:
        """Begin one without a lease."""
        del receipt
        return self._task_transaction.begin(None)


class GoesOn(SqlBroker):
    """Takes the transaction that is open for the next one."""

    def begin_transaction(self, receipt: bytes) -> Any:
        """Return what there is."""
        return self._task_transaction._connection or super().begin_transaction(receipt)


class Caller:
    """A program with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url)

    def begin(self) -> None:
        """Begin a transaction."""
        self.connection.execute("SELECT 1")

    def commit(self) -> None:
        """Commit it."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll it back."""
        self.connection.rollback()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


@pytest.fixture
def server(postgresql18: Any) -> Any:
    """Return one kind of server: what is wrong is the same on each."""
    return postgresql18


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Return a maker of brokers and stores, which are closed in the end."""
    with contextlib.ExitStack() as stack:

        def make(kind: type, url: str, name: str, **fields: Any) -> Any:
            settings = Settings(name=name, sections={"sql": SqlSettings(url=url)}, **fields)
            return stack.enter_context(contextlib.closing(kind(settings)))

        yield make


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (ClaimsNothing, "test_it_is_claimed"),
        (WritesApart, "test_all_of_it_is_committed_together"),
        (AcknowledgesAlways, "test_a_message_can_be_redelivered_with_it"),
        (WritesApart, "test_a_rollback_leaves_the_lease"),
        (RollsBackTheLease, "test_a_rollback_leaves_the_lease"),
        (SavesTheLate, "test_a_lease_that_was_lost_takes_all_of_it_along"),
        (BeginsForAnybody, "test_a_lease_that_was_lost_before_is_refused"),
        (GoesOn, "test_what_was_not_ended_is_rolled_back"),
        (SettlesAlways, "test_a_commit_without_a_transaction_is_refused"),
        (WritesApart, "test_a_task_without_a_lease_has_one_too"),
    ],
)
def test_a_broken_transaction_of_a_task_fails(
    wrong: type[SqlBroker], test: str, url: str, make: Callable[..., Any]
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    kit: Any = type("Hurried", (TaskTransactionContract,), {"time_unit": 0.1, "timeout": 20.0})()

    def maker(kind: type, name: str) -> Callable[..., Any]:
        return lambda **fields: (make(kind, url, name, **fields), make(SqlResults, url, name, **fields))

    getattr(kit, test)(maker(SqlBroker, "sound"))
    kit.timeout = 1.0
    with pytest.raises(SAID):
        getattr(kit, test)(maker(wrong, "wrong"))


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (ClaimsNothing, "test_it_is_claimed"),
        (WritesApart, "test_nothing_is_seen_before_the_commit"),
        (WakesNobody, "test_a_commit_wakes_who_waits"),
        (TakesAnyConnection, "test_a_connection_of_no_use_is_refused"),
    ],
)
def test_a_broken_transaction_of_a_program_fails(
    wrong: type[SqlBroker], test: str, url: str, make: Callable[..., Any]
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    kit: Any = type("Hurried", (TransactionContract,), {"time_unit": 0.1, "timeout": 20.0})()
    callers: list[Caller] = []

    def connect() -> Caller:
        callers.append(Caller(url))
        return callers[-1]

    def run(kind: type, name: str) -> None:
        new: Callable[..., Any] = lambda **fields: make(kind, url, name, poll=60.0, **fields)  # noqa: E731 - a fixture
        getattr(kit, test)(*[new, connect][: 1 if test == "test_it_is_claimed" else 2])

    try:
        run(SqlBroker, "sound")
        kit.timeout = 1.0
        with pytest.raises(SAID):
            run(wrong, "wrong")
    finally:
        for one in callers:
            one.close()

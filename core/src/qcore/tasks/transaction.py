"""The transaction that a task's own statements and its end share."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Settlement, StoredResult
    from qcore_process.connection_pool import ConnectionPool

#: The transaction of the task that this code is part of; None outside of tasks.
CURRENT: Final[ContextVar[TaskTransaction | InlineTransaction | None]] = ContextVar(
    "qcore.transaction", default=None
)

_ONE_BLOCK: Final = "a task has one block `with qcore.transaction()`; do the work in the first"


@contextmanager
def transaction() -> Iterator[Any]:
    """Lend a connection to the queue's database whose transaction is committed with the end of the task.

    What the task writes by it, its result and the acknowledgement of its message are committed
    together once the task has returned, or none of them is. An exception that leaves the block, or
    the task, rolls it back. A task has one such block.

    Raises:
        NotSupported: this code does not belong to a task, the queue is in no database of yours, its results
            are elsewhere, or the task runs at most once.
        BackendRejected: the lease has passed to another worker.

    """
    current = CURRENT.get()
    if current is None or current.pid != os.getpid():
        msg = "qcore.transaction() works in a task, in the process that runs it; call it there"
        raise NotSupported(msg)
    with current.block() as connection:
        yield connection


class TaskTransaction:
    """Begins the transaction of the task that runs, and ends it with the task."""

    def __init__(self, broker: Broker, store: ResultStore, running: Callable[[], tuple[bytes, bool]]) -> None:
        self._broker = broker
        self._store = store
        #: returns the receipt of the running message, and whether it was acknowledged before it began
        self._running = running
        self.pid = os.getpid()
        self.is_open = False

    @contextmanager
    def block(self) -> Iterator[Any]:
        """Lend a connection; its transaction stays open after the block."""
        receipt = self._check()
        # Before it begins: a signal may interrupt what follows anywhere.
        self.is_open = True
        try:
            yield self._broker.begin_transaction(receipt)
        except BaseException:
            self.roll_back()
            raise

    def _check(self) -> bytes:
        receipt, acknowledged = self._running()
        if self.is_open:
            raise NotSupported(_ONE_BLOCK)
        _refuse(self._broker, self._store, once=acknowledged)
        return receipt

    def roll_back(self) -> None:
        """Roll the transaction back, if one is open."""
        if self.is_open:
            self.is_open = False
            self._broker.rollback_transaction()

    def commit(self, result: StoredResult | None, settlement: Settlement) -> bool:
        """Settle the message in the transaction and commit it; False if its lease has passed to another."""
        self.is_open = False
        return self._broker.commit_transaction(self._store, () if result is None else (result,), settlement)


def _refuse(broker: Broker, store: ResultStore, *, once: bool) -> None:
    """Refuse what cannot be, in a worker and where a task runs as it is enqueued."""
    capabilities = broker.capabilities
    if once:
        msg = "qcore.transaction() needs the message, which at_most_once has removed; drop one of them"
        raise NotSupported(msg)
    if capabilities.settles_in_transactions and store.transaction_domain != capabilities.transaction_domain:
        msg = "qcore.transaction() needs results in the database of the queue; drop result_store"
        raise NotSupported(msg)


class InlineTransaction:
    """The transaction of a task that runs where it is enqueued; its result is stored afterwards."""

    def __init__(
        self, brokers: ConnectionPool[Broker], stores: ConnectionPool[ResultStore], *, once: bool
    ) -> None:
        self._brokers, self._stores = brokers, stores
        #: the task runs at most once, so a worker would have removed its message
        self._once = once
        self.pid = os.getpid()
        self._opened: ExitStack | None = None

    @contextmanager
    def block(self) -> Iterator[Any]:
        """Lend a connection; its transaction stays open after the block."""
        if self._opened is not None:
            raise NotSupported(_ONE_BLOCK)
        with self._brokers.connection(create=True) as broker, self._stores.connection(create=True) as store:
            _refuse(broker, store, once=self._once)
        self._opened = opened = ExitStack()
        try:
            broker = opened.enter_context(self._brokers.connection(create=True))
            yield opened.enter_context(broker.lend_transaction())
        except BaseException:
            self.end(commit=False)
            raise

    def end(self, *, commit: bool) -> None:
        """Commit the transaction or roll it back, if one is open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            undone = None if commit else _Undone()
            opened.__exit__(None if commit else _Undone, undone, None)


class _Undone(Exception):
    """What a transaction is rolled back by."""

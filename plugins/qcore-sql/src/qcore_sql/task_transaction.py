"""The transaction that a task's own statements and its settlement share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from qcore.errors import BackendRejected, NotSupported
from qcore.model import Action
from qcore_sql import messages
from qcore_sql.notify import notify
from qcore_sql.results import save
from qcore_sql.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from qcore.model import Settlement, StoredResult
    from qcore_sql.backend import Raw
    from qcore_sql.database import Database
    from qcore_sql.ended import Ended

_OWN: Final = "this transaction is committed with the end of the task, and rolled back by an exception that"
_NOT_YOURS: Final = f"{_OWN} leaves its block: call neither commit() nor rollback()"


class TaskTransaction:
    """A transaction on a connection of its own; a task writes by it as a connection of SQLAlchemy."""

    def __init__(self, database: Database, ended: Ended | None) -> None:
        self._database = database
        self._ended = ended
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        #: whether the task may execute statements
        self._is_lent = False

    def begin(self, receipt: bytes | None) -> Connection:
        """Begin it for the holder of a lease, None = for a task without a lease."""
        self.roll_back()
        # the tables have been checked
        self._database.name()
        backend = self._database.address.backend
        try:
            self._connection = connection = self._made().connect()
            # for SQLAlchemy it begins here; the driver sends nothing by itself
            connection.begin()
            session = self._session(_raw(connection))
            session.cursor.execute(backend.begin)
            held = receipt is None or messages.is_held(session, receipt)
        except BaseException as exc:
            self.roll_back()
            raise self._error_of(exc) from exc
        if not held:
            self.roll_back()
            raise BackendRejected("the lease has passed to another worker, which runs the task now")
        self._is_lent = True
        return connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Lend one that is committed with the end of the block, for a task without a lease."""
        try:
            yield self.begin(None)
            self._is_lent = False
            self._commit_alone()
        finally:
            self.roll_back()

    def _commit_alone(self) -> None:
        try:
            self._still_open().cursor.execute("COMMIT")
        except BaseException as exc:
            raise self._error_of(exc) from exc

    def commit(self, results: Sequence[StoredResult], settlement: Settlement) -> bool:
        """Write the end of the task into it and commit; roll back if the lease has passed to another."""
        self._is_lent = False
        try:
            session = self._still_open()
            if not self._write(session, results, settlement):
                return False
            session.cursor.execute("COMMIT")
        except BaseException as exc:
            raise self._error_of(exc) from exc
        else:
            return True
        finally:
            self.roll_back()

    def _still_open(self) -> Session:
        connection = self._connection
        if connection is not None and (raw := _raw(connection)) is not None:
            if self._database.address.backend.in_transaction(raw):
                return self._session(raw)
        raise BackendRejected(
            "the transaction of the task was ended before the task has: its connection was closed or lost, or"
            f" a statement has ended it; {_NOT_YOURS}"
        )

    def _write(self, session: Session, results: Sequence[StoredResult], settlement: Settlement) -> bool:
        if not messages.settle_held(session, settlement):
            return False
        queue = self._database.queue
        save(session, queue, results)
        if self._ended is not None:
            self._ended.add(session, queue, [settlement])
        if settlement.action is not Action.ACK:
            notify(session, queue)
        return True

    def roll_back(self) -> None:
        """Roll back what is not committed."""
        connection, self._connection = self._connection, None
        self._is_lent = False
        if connection is None:
            return
        raw, backend = _raw(connection), self._database.address.backend
        if raw is not None:
            try:
                # SQLAlchemy does not after an error of its own
                backend.end(raw)
            except backend.error:
                backend.close(raw)
            if not backend.is_open(raw):
                connection.invalidate()
        connection.close()

    def close(self) -> None:
        """Roll back, and close the connection."""
        self.roll_back()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _made(self) -> Engine:
        if self._engine is None:
            address = self._database.address
            kind = address.dialect
            self._engine = create_engine(
                f"{kind.name}+{kind.driver}://",
                creator=lambda: address.backend.connect(address),
                poolclass=QueuePool,
                pool_size=1,
                pool_pre_ping=True,
            )
            for name in ("commit", "rollback"):
                event.listen(self._engine, name, self._refuse)
        return self._engine

    def _refuse(self, connection: Connection) -> None:
        if self._is_lent and connection is self._connection:
            refuse_end()

    def _session(self, raw: Raw) -> Session:
        return Session(raw.cursor(), self._database.texts)

    def _error_of(self, exc: BaseException) -> BaseException:
        original = getattr(exc, "orig", None) if isinstance(exc, SQLAlchemyError) else exc
        if isinstance(original, self._database.address.backend.error):
            return self._database.error_of(original)
        return exc


def refuse_end() -> NoReturn:
    """Refuse to commit or roll back."""
    raise NotSupported(_NOT_YOURS)


def _raw(connection: Connection) -> Raw | None:
    """Return the driver's connection, None if it is gone."""
    if connection.closed or connection.invalidated:
        return None
    return connection.connection.driver_connection

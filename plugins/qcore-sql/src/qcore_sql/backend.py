"""What differs from database to database beside its SQL."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from qcore.errors import BackendRejected, NotSupported
from qcore.lazy import cached
from qcore_text.wording import typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from qcore.errors import BackendError
    from qcore_sql.address import Address
    from qcore_sql.compiled import Cursor, Texts
    from qcore_sql.session import Session


#: a connection of the driver, or what a program gave for one
Raw: TypeAlias = Any


class Connection(Protocol):
    """What is used of a DB-API connection."""

    def cursor(self) -> Any:  # noqa: ANN401 - a cursor
        """Return a cursor."""

    def close(self) -> object:
        """Close it."""


class Listens(Protocol):
    """A connection that is notified of messages."""

    def wait(self, seconds: float) -> Sequence[str]:
        """Return after `seconds`, or earlier if there is a notification; return what those say."""

    def close(self) -> None:
        """Close it."""


class Backend(ABC):
    """A kind of database and its driver."""

    #: as messages call it
    name: ClassVar[str]
    #: the kind of connection that `caller_session` takes
    takes: ClassVar[str]
    #: what every error of the driver is
    error: ClassVar[type[Exception]]
    #: begins a transaction that writes
    begin: ClassVar[str] = "BEGIN"
    #: whether it notifies who waits for messages
    wakes: ClassVar[bool] = False
    #: whether messages are enqueued and leased by one statement each, which needs no transaction
    one_statement: ClassVar[bool] = False
    #: what names the database in the configuration, for messages
    setting: str = "`sql.url`"
    #: what else creates the tables
    or_else: str = ", or allow their creation with `sql.create_tables`"

    @cached
    def init(self) -> str:
        """The command that creates the tables, for messages."""
        return typed("sql init")

    @abstractmethod
    def connect(self, address: Address) -> Connection:
        """Open a connection; each statement is a transaction of its own unless one is begun."""

    def listen(self, address: Address, channel: str) -> Listens:
        """Open a connection that is notified of messages, where the database has notifications."""
        del address, channel
        msg = f"{self.name} has no notifications"
        raise NotSupported(msg)

    @abstractmethod
    def is_open(self, connection: Raw) -> bool:
        """Return whether a connection can be used again."""

    def number_of_socket(self, connection: Raw) -> int:
        """Return the number of an open connection's socket, -1 if it has none."""
        del connection
        return -1

    def is_dead(self, connection: Raw) -> bool:
        """Return whether the server has ended an idle connection; it says nothing to one otherwise."""
        number = self.number_of_socket(connection)
        if number < 0:
            return False
        poller = select.poll()
        poller.register(number, select.POLLIN)
        return bool(poller.poll(0))

    def close(self, connection: Raw) -> None:
        """Close a connection, whatever state it is in."""
        with suppress(self.error):
            connection.close()

    @abstractmethod
    def in_transaction(self, connection: Raw) -> bool:
        """Return whether a connection is open and has a transaction."""

    def end(self, connection: Raw) -> None:
        """Roll back the transaction that is open, if any."""
        if self.in_transaction(connection):
            connection.rollback()

    @abstractmethod
    def check_version(self, connection: Raw, title: str) -> None:
        """Refuse a server that is too old."""

    @abstractmethod
    def has_tables(self, cursor: Cursor) -> bool:
        """Return whether there are tables of qcore."""

    @abstractmethod
    def creating(self, connection: Raw) -> AbstractContextManager[Cursor]:
        """Begin a transaction in which one process at a time creates tables."""

    @abstractmethod
    def info(self, cursor: Cursor) -> str:
        """Return what it is, and its version."""

    @abstractmethod
    def check(self, cursor: Cursor, title: str) -> str:
        """Return what the doctor says about it; refuse what cannot be written."""

    @abstractmethod
    def caller_session(self, connection: Raw, texts: Texts) -> Session | None:
        """Return what executes statements by a program's connection of the driver, None for another kind."""

    @abstractmethod
    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection cannot be used any more."""

    @abstractmethod
    def is_repeatable(self, error: Exception) -> bool:
        """Return whether the same transaction may work at once."""

    def is_read_only(self, error: Exception) -> bool:
        """Return whether the server has refused to write, so that nothing was written."""
        del error
        return False

    @abstractmethod
    def lacks_table(self, error: Exception) -> bool:
        """Return whether a table or column does not exist."""

    @abstractmethod
    def lacks_right(self, error: Exception) -> bool:
        """Return whether the user may not do this."""

    @abstractmethod
    def has_been_created(self, error: Exception) -> bool:
        """Return whether another process has just created a table."""

    @abstractmethod
    def read(self, error: Exception, address: str) -> BackendError:
        """Return the error to raise for an error of the driver."""


def refused(why: str) -> BackendRejected:
    """Return the error for a connection of a program's that is of no use."""
    return BackendRejected(f"nothing was enqueued by connection=: {why}")

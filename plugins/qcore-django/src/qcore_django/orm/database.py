"""Decides which calls are made by connections of Django's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.core import mail
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError, atomic
from django.utils.connection import ConnectionProxy
from sqlalchemy import Connection

from qcore.errors import BackendRejected
from qcore_django.orm.address import find, texts_of
from qcore_sql import tables
from qcore_sql.backend import refused
from qcore_sql.database import Database
from qcore_sql.schema import READ_VERSION
from qcore_sql.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.interfaces import Settings
    from qcore_sql.database import Work

P = ParamSpec("P")
T = TypeVar("T")


class OrmDatabase(Database):
    """The tables of a queue in a database of the site.

    A worker leases and settles by connections that only qcore has, so that nothing a task does to
    Django's can disturb it. Who is in a transaction of Django's is part of that, and so is what a
    thread does that has Django's connection open.
    """

    #: what waits would be seen in no transaction of Django's
    watches = False

    def __init__(self, settings: Settings) -> None:
        found = find(settings)
        super().__init__(settings, found)
        #: of the database in DATABASES
        self.alias = found.alias
        self._of_worker = bool(settings.owner)

    def name(self) -> str:
        """Return the name of this queue's tables, the same by every address of the server."""
        return f"sql:{self.read(_read_name)}#{self.queue}"

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Session]:  # noqa: ANN401 - of any library
        """Lend what executes statements as part of the transaction of a connection of Django's."""
        if isinstance(connection, Connection):
            # that of `qcore.transaction`
            with super().joined(connection) as session:
                yield session
            return
        wrapper = _wrapper_of(connection)
        if wrapper is None:
            kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
            raise refused(
                f"the broker orm takes a connection of Django, such as django.db.connection, or its alias,"
                f" got {kind}"
            )
        if wrapper.connection is None:
            raise refused("it is not open, so it has no transaction; enqueue in a block `with atomic():`")
        if wrapper.autocommit and not wrapper.in_atomic_block:
            raise refused("it has no transaction; enqueue in a block `with atomic():`, or drop connection=")
        if wrapper.vendor != connections[self.alias].vendor:
            raise self._another()
        name = self.name()
        with self._by_caller(wrapper, check=False) as session:
            found = tables.read(session.cursor, self.address, texts_of(wrapper.vendor))
            if found is None or f"sql:{found[1]}#{self.queue}" != name:
                raise self._another()
            yield session

    def _another(self) -> BackendRejected:
        return refused(f"it leads to another database than DATABASES[{self.alias!r}], which `orm` names")

    # -- connections ------------------------------------------------------------------------

    def _single(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        caller = self._caller()
        if caller is None:
            return super()._single(work, *args, **kwargs)
        with self._by_caller(caller) as session:
            return work(session, *args, **kwargs)

    def _write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        caller = self._caller()
        if caller is None:
            return super()._write(work, *args, **kwargs)
        with self._by_caller(caller) as session, atomic(using=caller.alias, savepoint=False):
            return work(session, *args, **kwargs)

    def _caller(self) -> BaseDatabaseWrapper | None:
        """Return Django's connection of this thread if the call is to be made by it."""
        if self._of_worker:
            return None
        wrapper = connections[self.alias]
        if _is_tested():
            return wrapper
        if wrapper.vendor == "sqlite":
            # A transaction that Django begins on a file may fail where another process writes, instead
            # of waiting for it. What is in memory has no other connection.
            joins = wrapper.in_atomic_block or wrapper.is_in_memory_db()
        else:
            joins = wrapper.in_atomic_block or wrapper.connection is not None
        return wrapper if joins or (wrapper.connection is not None and not wrapper.autocommit) else None

    @contextmanager
    def _by_caller(self, caller: BaseDatabaseWrapper, *, check: bool = True) -> Iterator[Session]:
        """Lend a connection of Django's, to a database with our tables if that is to be checked."""
        self._refuse_if_closed()
        was_open = caller.connection is not None
        is_free = caller.get_autocommit() and not caller.in_atomic_block
        try:
            with caller.cursor() as cursor:
                session = Session(cursor, texts_of(caller.vendor))
                if check:
                    self._check(caller, session)
                yield session
        except TransactionManagementError as exc:
            raise BackendRejected(
                f"the transaction of DATABASES[{caller.alias!r}] is broken by an earlier error, so nothing"
                " can be part of it; leave its block `with atomic():` first"
            ) from exc
        except Error as exc:
            backend: Any = self._backend
            original = backend.own(exc.__cause__ if isinstance(exc.__cause__, Exception) else exc)
            if not (is_free and isinstance(original, self._backend.error)):
                raise self.error_of(original) from exc
            if self._backend.is_lost(original):
                # as Django does between two requests
                caller.close()
            raise original from exc
        finally:
            if is_free and not was_open:
                caller.close()

    def _check(self, caller: BaseDatabaseWrapper, session: Session) -> None:
        """Refuse a database without our tables; it is asked once in a process."""
        pool = self._enter()
        if not pool.name:
            found = tables.read(session.cursor, self.address, texts_of(caller.vendor))
            pool.name = tables.name_of(found, self.address)


def _is_tested() -> bool:
    """Return whether a test runner has set this process up; it drops databases, which nobody may then use."""
    return hasattr(mail, "outbox")


def _wrapper_of(connection: Any) -> BaseDatabaseWrapper | None:  # noqa: ANN401 - of any library
    """Return a connection of Django's, None for anything else."""
    if isinstance(connection, str) and connection in connections.settings:
        return connections[connection]
    if isinstance(connection, ConnectionProxy):
        alias: str = connection.alias
        return connections[alias]
    return connection if isinstance(connection, BaseDatabaseWrapper) else None


def _read_name(session: Session) -> str:
    found = session.one(READ_VERSION)
    assert found is not None
    return str(found[1])

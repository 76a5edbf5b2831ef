"""Tasks are enqueued by the transactions of programs, by each kind of connection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from qcore import App, Config
from qcore.errors import BackendRejected, NotSupported, ScheduleError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_sql import SqlBroker
from qcore_testing import TransactionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.slow


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Return an engine of a program's own."""
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    yield engine
    engine.dispose()


class Caller:
    """A connection or a session, whatever its library is."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def begin(self) -> None:
        """Begin a transaction."""
        begin = getattr(self.connection, "begin", None)
        if begin is None:
            self.connection.execute("BEGIN")
        else:
            begin()

    def commit(self) -> None:
        """Commit it."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll it back."""
        self.connection.rollback()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


KINDS = ("psycopg", "psycopg-autocommit", "connection", "session", "scoped_session")


class TestSqlTransactions(TransactionContract):
    """SqlBroker.enqueue_on keeps to Broker."""

    @pytest.fixture
    def make(self, url: str) -> Callable[..., SqlBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: SqlBroker(Settings(name="kit", sections={"sql": url}, **fields))

    @pytest.fixture(params=KINDS)
    def connect(
        self, request: pytest.FixtureRequest, url: str, engine: Engine
    ) -> Iterator[Callable[[], Caller]]:
        """Return a maker of connections of each kind."""
        with contextlib.ExitStack() as stack:

            def make() -> Caller:
                if request.param == "connection":
                    return Caller(stack.enter_context(engine.connect()))
                if request.param == "session":
                    return Caller(stack.enter_context(Session(engine)))
                if request.param == "scoped_session":
                    return Caller(scoped_session(sessionmaker(engine)))
                # rows of another kind than ours
                autocommit = request.param == "psycopg-autocommit"
                made: Any = psycopg.connect(url, autocommit=autocommit, row_factory=dict_row)
                return Caller(stack.enter_context(contextlib.closing(made)))

            yield make


@pytest.fixture
def app(url: str) -> Iterator[App]:
    """Return an App whose queue is in the database."""
    config = {"name": "q", "secret_key": "the key of these tests, not of anybody else", "sql": url}
    with contextlib.closing(App(Config.from_dict(config))) as app:
        yield app


def test_all_that_is_enqueued_together_is_in_the_transaction(app: App, engine: Engine) -> None:
    """A task, several, a chain, a group and a task of another queue are gone with its rollback."""
    task = app.task(name="math.sqrt")(lambda number: number)
    for end, count in (("rollback", 0), ("commit", 6)):
        with engine.connect() as connection:
            here = task.using(connection=connection)
            here.enqueue(1)
            app.enqueue_many([here.bind(1), here.bind(2)])
            app.chain([task.bind(1), here.bind(2)])
            app.group([here.bind(1), task.bind(2)]).enqueue()
            here.using(queue="other").enqueue(1)
            getattr(connection, end)()

        assert app.queue.size().ready == count
        assert app.for_queue("other").queue.size().ready == bool(count)


def test_a_savepoint_counts(app: App, engine: Engine) -> None:
    """What was enqueued since a savepoint is gone when that is rolled back to."""
    task = app.task(name="math.sqrt")(lambda number: number)
    with engine.begin() as connection:
        task.using(connection=connection).enqueue(1)
        with contextlib.suppress(ZeroDivisionError), connection.begin_nested():
            task.using(connection=connection).enqueue(2)
            raise ZeroDivisionError

    assert app.queue.size().ready == 1


def test_what_has_no_transaction_is_refused(app: App, url: str, engine: Engine) -> None:
    """Each error says what is wrong, and nothing is enqueued."""
    task = app.task(name="math.sqrt")(lambda number: number)

    def refused(connection: Any, why: str) -> None:
        with pytest.raises(BackendRejected, match=why):
            task.using(connection=connection).enqueue(1)

    session = Session(engine)
    refused(session, "the session has no transaction: it was closed, committed or rolled back, or has not")
    session.begin()
    with contextlib.suppress(Exception):
        session.execute(text("nonsense"))
    refused(session, "current transaction is aborted")
    session.close()
    refused(session, "the session has no transaction")
    connection = engine.connect()
    connection.close()
    refused(connection, "nothing was enqueued by connection=: it is closed; enqueue before that")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as loose:
        refused(loose, "its isolation level is AUTOCOMMIT, so it has no transaction to join")
    looser = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with looser.connect() as loose:
        refused(loose, "its isolation level is AUTOCOMMIT")
    looser.dispose()
    with psycopg.connect(url, autocommit=True) as driver:
        refused(driver, "it is in autocommit mode and has no transaction; enqueue in a block")
    refused(driver, "it is closed")
    with contextlib.suppress(psycopg.Error), psycopg.connect(url) as driver:
        with contextlib.suppress(psycopg.Error):
            driver.execute("nonsense")
        refused(driver, "its transaction has failed; roll it back first")
    refused(url, "takes a Connection or Session of SQLAlchemy, or a Connection of psycopg, got builtins.str")
    assert app.queue.size().ready == 0


def test_another_database_is_refused(app: App, server: Any, look: Callable[..., list[Any]]) -> None:
    """A message does not get into another queue of the same name, or nowhere."""
    look("CREATE SCHEMA IF NOT EXISTS elsewhere")
    other = server.url("elsewhere")
    task = app.task(name="math.sqrt")(lambda number: number)
    engines = [create_engine(other.replace("postgresql", "postgresql+psycopg")), create_engine("sqlite://")]
    said = "it leads to another database than `sql`, which names"

    def refused_by_all() -> None:
        for engine in engines:
            with engine.connect() as connection, pytest.raises(BackendRejected, match=said):
                task.using(connection=connection).enqueue(1)
        with psycopg.connect(other) as driver, pytest.raises(BackendRejected, match=said):
            task.using(connection=driver).enqueue(1)

    refused_by_all()
    broker = SqlBroker(Settings(name="q", sections={"sql": other}))
    broker.enqueue([Outgoing(bytes(16), b"of another queue")])
    refused_by_all()

    assert broker.size().ready == 1
    broker.close()
    for engine in engines:
        engine.dispose()


def test_options_that_a_rollback_does_not_take_back_are_refused(app: App, engine: Engine) -> None:
    """`unique` and schedules are refused, and so are two connections in one call."""
    task = app.task(name="math.sqrt")(lambda number: number)
    with engine.begin() as one, engine.begin() as two:
        with pytest.raises(ValueError, match="connection= excludes unique=, whose key no rollback"):
            task.using(connection=one, unique=True)
        with pytest.raises(ScheduleError, match="in no transaction of yours; drop connection="):
            app.schedules.create(task.using(connection=one), 1, every=60)
        calls = [task.using(connection=one).bind(1), task.using(connection=two).bind(2)]
        with pytest.raises(NotSupported, match="have one transaction, and these have different connection="):
            app.enqueue_many(calls)
        with pytest.raises(NotSupported, match="have one transaction"):
            app.chain(calls)
        with pytest.raises(NotSupported, match="have one transaction"):
            app.enqueue_many([calls[0], task.bind(1)])
    assert app.queue.size().ready == 0

"""Tasks are enqueued by the transactions of programs, by each kind of connection."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from qcore import App, Config
from qcore.errors import BackendRejected, NotSupported, ScheduleError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_sql import SqlBroker, SqlSettings
from qcore_testing import TransactionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.slow


#: what a program gives to SQLAlchemy instead
SCHEMES = {"postgresql:": "postgresql+psycopg:", "mariadb:": "mariadb+pymysql:", "sqlite:": "sqlite:"}


def engine_of(url: str, **options: Any) -> Engine:
    """Return an engine of a program's own."""
    scheme = url.partition("/")[0]
    return create_engine(SCHEMES[scheme] + url.removeprefix(scheme), **options)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Return an engine of a program's own."""
    engine = engine_of(url)
    yield engine
    engine.dispose()


def driver_of(server: Any, namespace: str, *, autocommit: bool) -> Any:
    """Return a connection of the driver, whose rows are of another kind than ours."""
    if hasattr(server, "data"):
        return psycopg.connect(server.url(namespace), autocommit=autocommit, row_factory=dict_row)
    connection = server.connect(namespace)
    connection.autocommit(autocommit)
    connection.cursorclass = pymysql.cursors.DictCursor
    return connection


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


KINDS = ("driver", "driver-autocommit", "connection", "session", "scoped_session")


class TestSqlTransactions(TransactionContract):
    """SqlBroker.enqueue_on keeps to Broker."""

    @pytest.fixture(params=["postgresql18", "mariadb"])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return a server; SQLite has no second transaction while one writes."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, url: str) -> Callable[..., SqlBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: SqlBroker(Settings(name="kit", sections={"sql": url}, **fields))

    @pytest.fixture(params=KINDS)
    def connect(
        self, request: pytest.FixtureRequest, server: Any, namespace: str, engine: Engine
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
                driver = driver_of(server, namespace, autocommit=request.param == "driver-autocommit")
                stack.callback(_close, driver)
                return Caller(driver)

            yield make


def _close(driver: Any) -> None:
    with contextlib.suppress(pymysql.MySQLError):
        driver.close()


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
            here.using(cluster="other").enqueue(1)
            getattr(connection, end)()

        assert app.queue.size().ready == count
        assert app.for_cluster("other").queue.size().ready == bool(count)


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
    refused(url, "of SQLAlchemy, or a Connection or AsyncConnection of psycopg, got builtins.str")
    assert app.queue.size().ready == 0


def test_another_database_is_refused(app: App, server: Any, look: Callable[..., list[Any]]) -> None:
    """A message does not get into another queue of the same name, or nowhere."""
    look("CREATE SCHEMA IF NOT EXISTS elsewhere")
    other = server.url("elsewhere")
    task = app.task(name="math.sqrt")(lambda number: number)
    engines = [engine_of(other), create_engine("sqlite://")]
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


def test_mariadb_says_what_is_wrong_too(mariadb: Any) -> None:
    """Each error of PyMySQL's connections says what is wrong, and nothing is enqueued."""
    for name in ("here", "elsewhere"):
        mariadb.create(name)
    broker = SqlBroker(Settings(name="q", sections={"sql": mariadb.url("here")}))
    message = [Outgoing(bytes(16), b"lost")]
    driver = mariadb.connect("here")

    with pytest.raises(BackendRejected, match="in autocommit mode and has no transaction; call its `begin"):
        broker.enqueue_on(driver, message)
    driver.close()
    with pytest.raises(BackendRejected, match="it is closed"):
        broker.enqueue_on(driver, message)
    with mariadb.connect("elsewhere") as other:
        other.begin()
        with pytest.raises(BackendRejected, match="it leads to another database than `sql`, which names"):
            broker.enqueue_on(other, message)

    assert broker.size().ready == 0
    broker.close()


@pytest.mark.parametrize("kind", ["driver", "connection", "session"])
def test_sqlite_takes_it_back_too(sqlite: Any, kind: str) -> None:
    """What a transaction has enqueued in an SQLite file is gone with its rollback."""
    url = sqlite.url("q")
    broker = SqlBroker(Settings(name="q", sections={"sql": url}))
    engine = engine_of(url)
    made: Any = {
        "driver": lambda: sqlite3.connect(engine.url.database),
        "connection": engine.connect,
        "session": lambda: Session(engine),
    }
    with contextlib.closing(made[kind]()) as connection:
        for end in ("rollback", "commit"):
            Caller(connection).begin()
            broker.enqueue_on(connection, [Outgoing(bytes(16), end.encode())])
            getattr(connection, end)()
    loose = sqlite3.connect(engine.url.database, isolation_level=None)
    with pytest.raises(BackendRejected, match="in autocommit mode and has no transaction; execute BEGIN"):
        broker.enqueue_on(loose, [Outgoing(bytes(16), b"lost")])
    loose.close()
    with pytest.raises(BackendRejected, match="it is closed"):
        broker.enqueue_on(loose, [Outgoing(bytes(16), b"lost")])

    assert [one.body for one in broker.lease(10, 0.0)] == [b"commit"]
    broker.close()
    engine.dispose()


def test_a_queue_is_named_beside_what_the_caller_has_written(sqlite: Any) -> None:
    """SQLite has one writer, and that is the caller: nothing is written by another connection."""
    settings = Settings(name="q", sections={"sql": SqlSettings(url=sqlite.url("named"), timeout=0.1)})
    engine = engine_of(sqlite.url("named"))
    with contextlib.closing(SqlBroker(settings)) as broker:
        broker.ping()
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE qcore_schema SET version = version")
            broker.enqueue_on(connection, [Outgoing(bytes(16), b"mail", 0.0, "mail", 3)])
        assert [one.body for one in broker.lease(1, 0.0)] == [b"mail"]
    engine.dispose()

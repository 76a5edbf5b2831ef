"""What is asked in a transaction of Django's is part of it, and nothing else is."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connection, connections
from django.db.transaction import atomic
from sqlalchemy import text

import qcore
from qcore import App, Config, TaskFailed
from qcore.errors import BackendRejected
from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement, State, StoredResult
from qcore.testing import inline
from qcore_django.orm.stores import OrmBroker, OrmCoordination, OrmResults
from qcore_testing import TransactionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow


class Caller:
    """A connection of Django's that leaves commits to its program."""

    def __init__(self, alias: str) -> None:
        self.connection = connections.create_connection(alias)

    def begin(self) -> None:
        """Begin a transaction."""
        self.connection.set_autocommit(False)

    def commit(self) -> None:
        """Commit it."""
        self.connection.commit()
        self.connection.set_autocommit(True)

    def rollback(self) -> None:
        """Roll it back."""
        self.connection.rollback()
        self.connection.set_autocommit(True)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class TestOrmTransactions(TransactionContract):
    """OrmBroker.enqueue_on keeps to Broker."""

    @pytest.fixture(params=["postgresql18", pytest.param("mariadb", marks=pytest.mark.further)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return a server; SQLite has no second transaction while one writes."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, alias: str) -> Callable[..., OrmBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: OrmBroker(Settings(name="kit", sections={"orm": alias}, **fields))

    @pytest.fixture
    def connect(self, alias: str) -> Iterator[Callable[[], Caller]]:
        """Return a maker of connections."""
        with contextlib.ExitStack() as stack:

            def make() -> Caller:
                caller = Caller(alias)
                stack.callback(caller.close)
                return caller

            yield make


@pytest.fixture
def app(alias: str) -> Iterator[App]:
    """Return an App whose queue is in the database."""
    config = {"name": "q", "secret_key": "the key of these tests, not of anybody else", "orm": alias}
    with contextlib.closing(App(Config.from_dict(config))) as app:
        yield app


@pytest.fixture(params=["closed", "open"])
def thread(request: pytest.FixtureRequest, alias: str) -> str:
    """Have this thread's connection of Django closed or open before the test asks for anything."""
    if request.param == "open":
        connections[alias].ensure_connection()
    return str(request.param)


class Undo(Exception):
    """Rolls a transaction back."""


def seen_elsewhere(app: App) -> int:
    """Return how many messages another thread sees, by another connection."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(app.queue.size().ready))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("thread")
def test_what_is_enqueued_in_atomic_is_gone_with_its_rollback(app: App, alias: str) -> None:
    """A task, several, a chain and a group, without any option."""
    task = app.task(name="math.sqrt")(lambda number: number)
    for end, count in ((Undo, 0), (None, 6)):
        with contextlib.suppress(Undo), atomic(using=alias):
            task.enqueue(1)
            app.enqueue_many([task.bind(1), task.bind(2)])
            app.chain([task.bind(1), task.bind(2)])
            app.group([task.bind(1), task.bind(2)]).enqueue()
            assert app.queue.size().ready == 6
            assert seen_elsewhere(app) == 0
            if end is not None:
                raise end

        assert seen_elsewhere(app) == count
        assert app.queue.size().ready == count


@pytest.mark.usefixtures("thread")
def test_a_queue_that_a_rollback_takes_back_is_named_again(app: App, alias: str) -> None:
    """A worker that is busy with the default queue looks for others once one has been named."""
    task = app.task(name="math.sqrt", queue="mail")(lambda number: number)
    with contextlib.suppress(Undo), atomic(using=alias):
        task.enqueue(1)
        raise Undo
    task.enqueue(2)

    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT task_queue FROM qcore_task_queue")
        assert list(cursor.fetchall()) == [("mail",)]


def test_outside_of_atomic_each_call_commits_by_itself(app: App) -> None:
    """What is enqueued is seen by others at once."""
    task = app.task(name="math.sqrt")(lambda number: number)
    task.enqueue(1)
    app.enqueue_many([task.bind(1), task.bind(2)])
    task.using(delay=60).enqueue(1)

    assert seen_elsewhere(app) == 3
    assert app.queue.size().delayed == 1


def test_a_savepoint_counts(app: App, alias: str) -> None:
    """What was enqueued in an inner block is gone when that is rolled back, the rest is not."""
    task = app.task(name="math.sqrt")(lambda number: number)
    with atomic(using=alias):
        task.enqueue(1)
        with contextlib.suppress(Undo), atomic(using=alias):
            task.enqueue(2)
            raise Undo

    assert app.queue.size().ready == 1


def test_unique_and_schedules_are_part_of_it_too(app: App, alias: str) -> None:
    """The key of a unique task and a schedule are gone with the rollback."""
    task = app.task(name="math.sqrt")(lambda number: number)
    for end in (Undo, None):
        with contextlib.suppress(Undo), atomic(using=alias):
            assert not task.using(unique="once").enqueue(1).duplicate
            app.schedules.create(task, 1, every=60, name="nightly")
            if end is not None:
                raise end

        assert len(app.schedules.list()) == (end is None)
    assert task.using(unique="once").enqueue(1).duplicate
    assert app.queue.size().ready == 1


def test_stores_are_read_and_written_in_it(alias: str) -> None:
    """Results and flags are there inside the block and gone with the rollback."""
    made = Settings(name="q", sections={"orm": alias})
    results, shared = OrmResults(made), OrmCoordination(made)
    one = StoredResult(bytes(16), State.SUCCESS, b"body", "a.task", group="all")
    with contextlib.suppress(Undo), atomic(using=alias):
        results.save([one])
        shared.set_flag("flag", b"value", 60.0)
        assert shared.acquire("lock", b"me", 1, 60.0) is None
        assert shared.reserve("rate", b"me", 1.0, 1) == 0.0
        assert results.get([one.id])[0] == one
        assert [found.id for found in results.group("all")] == [one.id]
        assert shared.get_flags(["flag"]) == [b"value"]
        raise Undo

    assert results.get([one.id]) == [None]
    assert shared.get_flags(["flag"]) == [None]
    assert shared.acquire("lock", b"other", 1, 60.0) is None
    results.close()
    shared.close()


def test_a_worker_keeps_to_itself(alias: str) -> None:
    """What a worker leases and settles is not part of a transaction that a task has left open."""
    worker = OrmBroker(Settings(name="q", owner=b"of a worker", sections={"orm": alias}))
    producer = OrmBroker(Settings(name="q", sections={"orm": alias}))
    producer.enqueue([Outgoing(bytes(16), b"first"), Outgoing(bytes(16), b"second")])
    django = connections[alias]
    django.ensure_connection()

    django.set_autocommit(False)
    with django.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM qcore_message")
        (lease,) = worker.lease(1, 0.0)
        worker.settle([Settlement(lease.receipt)])
    django.rollback()
    django.set_autocommit(True)
    django.close()

    assert lease.body == b"first"
    assert [found.body for found in worker.lease(2, 0.0)] == [b"second"]
    worker.close()
    producer.close()


def test_a_broken_transaction_is_told(app: App, alias: str) -> None:
    """Nothing can be enqueued in a block in which a statement has failed, and the message says so."""
    task = app.task(name="math.sqrt")(lambda number: number)
    with contextlib.suppress(Undo), atomic(using=alias):
        with contextlib.suppress(DatabaseError), atomic(using=alias, savepoint=False):
            connections[alias].cursor().execute("nonsense")
        with pytest.raises(BackendRejected, match=r"broken by an earlier error.*leave its block `with"):
            task.enqueue(1)
        raise Undo

    assert app.queue.size().ready == 0


def test_a_connection_that_is_named_is_used(app: App, alias: str) -> None:
    """The option `connection` takes a connection of Django's or its alias, and nothing else."""
    task = app.task(name="math.sqrt")(lambda number: number)
    for named in (alias, connections[alias]):
        with contextlib.suppress(Undo), atomic(using=alias):
            task.using(connection=named).enqueue(1)
            raise Undo
        with atomic(using=alias):
            task.using(connection=named).enqueue(1)

    def refused(given: Any, why: str) -> None:
        with pytest.raises(BackendRejected, match=why):
            task.using(connection=given).enqueue(1)

    with atomic():
        refused(connection, "it leads to another database than DATABASES")
    refused(alias, "it has no transaction; enqueue in a block `with atomic")
    connections[alias].close()
    refused(alias, "it is not open, so it has no transaction")
    refused(object(), "takes a connection of Django, such as .*, or its alias, got builtins.object")
    assert app.queue.size().ready == 2


def transfer(how: str) -> list[Any]:
    """Read and write by the connection of `qcore.transaction`; fail as asked."""
    with qcore.transaction() as lent:
        lent.execute(text("INSERT INTO effect VALUES (:how)"), {"how": how})
        found = list(lent.execute(text("SELECT name FROM effect")).scalars())
        if lent.dialect.name == "postgresql":
            assert lent.execute(text("""SELECT '{"a": 1}'::jsonb""")).scalar() == {"a": 1}
    if how == "undone":
        raise ValueError(how)
    return found


def test_a_task_that_runs_here_writes_by_django_s_connection(app: App, alias: str) -> None:
    """`qcore.transaction` is part of a transaction that is open, else one that the task's end commits."""
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE effect (name VARCHAR(99))")
    with inline(app):
        with contextlib.suppress(Undo), atomic(using=alias):
            assert app.enqueue(transfer, "gone").result() == ["gone"]
            raise Undo
        with pytest.raises(TaskFailed, match="ValueError: undone"):
            app.enqueue(transfer, "undone").result()
        assert app.enqueue(transfer, "kept").result() == ["kept"]

    with contextlib.closing(connections.create_connection(alias)) as other, other.cursor() as cursor:
        cursor.execute("SELECT name FROM effect")
        assert list(cursor.fetchall()) == [("kept",)]

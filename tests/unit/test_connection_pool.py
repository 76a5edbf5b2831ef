"""How threads share connections."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import BackendUnavailable, QueueMissing, UnknownKey
from qcore.model import State, StoredResult
from qcore.testing import inline
from qcore_process import connection_pool
from qcore_process.connection_pool import ConnectionPool

if TYPE_CHECKING:
    from types import FrameType


class Connection:
    """A connection to nothing."""

    def close(self) -> None:
        """Do nothing."""


class Connections:
    """Makes connections and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.failing = False

    def __call__(self, *, create: bool = False) -> Any:
        """Connect."""
        del create
        if self.failing:
            raise BackendUnavailable
        self.made += 1
        return Connection()


def test_many_threads_share_a_bounded_number() -> None:
    """Whoever needs one more waits until another gives its own back."""
    connections = Connections()
    pool: ConnectionPool[Any] = ConnectionPool(connections, 5)
    many = threading.Barrier(40)

    def use() -> None:
        many.wait(60)
        for _ in range(20):
            with pool.connection():
                pass

    with ThreadPoolExecutor(40) as threads:
        for done in [threads.submit(use) for _ in range(40)]:
            done.result(60)

    assert 0 < connections.made <= 5


class Interrupted(Exception):
    """What a signal handler raises."""


def interrupted_at(number: int, pool: ConnectionPool[Any], *, idle: bool) -> bool:
    """Use a connection, be interrupted at a line of the pool; return whether it has so many."""
    if idle:
        with pool.connection():
            pass
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != connection_pool.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pool.connection():
            pass
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("idle", [False, True])
def test_a_task_that_is_interrupted_at_any_line_takes_no_connection_along(
    monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    """A handler of SIGALRM raises anywhere, and the next thread is lent as many connections as before."""
    monkeypatch.setattr(connection_pool, "_TIMEOUT", 0.0001)
    lines = 0
    for number in range(1, 100):
        pool: ConnectionPool[Any] = ConnectionPool(Connections(), 1)
        if not interrupted_at(number, pool, idle=idle):
            break
        lines += 1
        with pool.connection() as connection:
            assert connection

    assert lines > 5


def test_one_that_is_given_back_wakes_who_waits() -> None:
    """And a connection that could not be made leaves its place to the next."""
    connections = Connections()
    pool: ConnectionPool[Any] = ConnectionPool(connections, 1)
    connections.failing = True
    with pytest.raises(BackendUnavailable):
        pool.take()
    connections.failing = False
    held = pool.take()
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(pool.take)
        assert not other.done()

        pool.give(held)

        assert other.result(60) is held


def test_who_may_make_a_queue_is_given_no_connection_that_may_not() -> None:
    """One that found no queue is closed, and leaves its place to another."""
    connections: list[Any] = []

    class Connection:
        is_closed = False

        def __init__(self, *, create: bool = False) -> None:
            self.may_create = create
            connections.append(self)

        def close(self) -> None:
            self.is_closed = True

    pool: ConnectionPool[Any] = ConnectionPool(Connection, 1)
    with pytest.raises(QueueMissing), pool.connection():
        raise QueueMissing

    with pool.connection(create=True) as found:
        assert found.may_create
    assert [one.is_closed for one in connections] == [True, False]


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do."""
    monkeypatch.setattr("qcore_process.connection_pool._TIMEOUT", 0.01)
    pool: ConnectionPool[Any] = ConnectionPool(Connections(), 1)
    lent = pool.take()

    with pytest.raises(
        BackendUnavailable,
        match=r"^all 1 connections of this process .*raise `max_connections`, or let fewer",
    ):
        pool.take()
    pool.give(lent)


def test_a_fork_amid_many_threads_has_connections_of_its_own() -> None:
    """Neither the parent's count nor its lock is the child's."""
    pool: ConnectionPool[Any] = ConnectionPool(Connections(), 1)
    pool.take()
    with pool._returned:
        child = os.fork()
        if not child:
            # In the child, in which the parent's lock is held for ever.
            os._exit(0 if pool.take() else 1)

    assert os.waitpid(child, 0)[1] == 0


def test_the_producers_of_a_process_share_the_connections_to_a_broker() -> None:
    """Three hundred threads that enqueue at once connect as often as `max_connections` says at most."""
    app = App(Config.from_dict({"memory": {}, "max_connections": 9}))
    made: list[object] = []
    inner = app.runtime.brokers._make

    def counted(*, create: bool = False) -> Any:
        made.append(inner(create=create))
        return made[-1]

    app.runtime.brokers._make = counted
    many = threading.Barrier(300)

    def use() -> None:
        many.wait(60)
        app.enqueue("os.getcwd")

    with ThreadPoolExecutor(300) as threads:
        for done in [threads.submit(use) for _ in range(300)]:
            done.result(60)

    assert app.queue.size().ready == 300
    assert 0 < len(made) <= 9


def test_threads_that_wait_for_results_share_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits takes turns with the others, and who only looks is answered meanwhile."""
    monkeypatch.setattr("qcore.results_api._HELD", 0.02)
    app = App(Config.from_dict({"memory": {}, "max_connections": 2}))
    pool = app.runtime.stores
    jobs = [app.enqueue("os.getcwd") for _ in range(9)]
    with inline(app):
        over = app.enqueue("os.getcwd")

    with ThreadPoolExecutor(9) as threads:
        waiting = [threads.submit(job.fetch, 60) for job in jobs[:7]]
        waiting += [threads.submit(lambda: app.results.fetch_many([jobs[7].id, jobs[8].id], 60)[0])]
        assert over.result() == os.getcwd()
        with pool.connection() as store:
            ids = [bytes.fromhex(job.id) for job in jobs]
            store.save([StoredResult(id, State.SUCCESS, b"", "a.task", None, time.time()) for id in ids])
        for done in waiting:
            # found, and not signed
            with pytest.raises(UnknownKey):
                done.result(60)

    assert len(pool._places) <= 2


@pytest.mark.parametrize("kind", ["stores", "schedule_stores", "coordination_stores"])
def test_the_connections_to_each_store_are_bounded(kind: str) -> None:
    """As those to the broker are."""
    for settings, most in (({}, 100), ({"max_connections": 9}, 9)):
        runtime = App(Config.from_dict({"memory": {}, **settings})).runtime
        pool: ConnectionPool[Any] = getattr(runtime, kind)
        assert pool._most == runtime.brokers._most == most

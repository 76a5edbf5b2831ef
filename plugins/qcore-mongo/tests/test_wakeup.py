"""Change streams: how they end, and what happens without them."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.monitoring import CommandListener

from qcore.interfaces import Settings
from qcore.model import Outgoing, State, StoredResult
from qcore_mongo import MongoBroker, MongoResults, MongoSettings
from qcore_mongo.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent


class Asked(CommandListener):
    """Records the milliseconds that the server is asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Record the wait of a command."""
        if event.command_name == "getMore":
            self.waits.append(event.command["maxTimeMS"])

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


@pytest.fixture
def settings(replicated: Any, database: str) -> Iterator[Callable[..., Settings]]:
    """Return a factory of settings of one queue; fields are those of the table `mongo`."""

    def make(**fields: Any) -> Settings:
        told = MongoSettings(**{**replicated.settings, **fields})
        return Settings(name="q", poll=0.05, sections={"mongo": told, "mongo_db": database})

    yield make
    with replicated.client() as client:
        client.drop_database(database)


@pytest.fixture
def lose_first(monkeypatch: pytest.MonkeyPatch, replicated: Any, database: str) -> Iterator[list[int]]:
    """Kill the first cursor, as a server does that is not the primary any more."""
    opened: list[int] = []
    open_ = Stream._open

    def lose(stream: Stream) -> None:
        open_(stream)
        opened.append(stream._cursor)
        if len(opened) == 1:
            client[database].command("killCursors", stream._collection, cursors=[stream._cursor])

    with replicated.client() as client:
        monkeypatch.setattr(Stream, "_open", lose)
        yield opened


def test_an_idle_worker_opens_a_new_cursor_after_its_own_was_lost(
    settings: Callable[..., Settings], lose_first: list[int]
) -> None:
    """A change of the primary loses cursors; the next wait opens another."""
    broker = MongoBroker(settings())

    assert list(broker.lease(1, 0.5)) == []

    assert broker._waker._stream is not None
    assert len(lose_first) == 2
    broker.enqueue([Outgoing(os.urandom(16), b"one")])
    assert len(broker.lease(1, 5.0)) == 1
    broker.close()


def test_a_wait_for_a_result_survives_its_cursor(
    settings: Callable[..., Settings], lose_first: list[int]
) -> None:
    """A wait for a result does not end with an error when its cursor is lost."""
    store = MongoResults(settings())

    assert store.wait(os.urandom(16), 0.5) is None

    assert len(lose_first) == 2
    store.close()


def test_a_wait_without_permission_for_streams_polls_and_logs_once(
    start: Callable[..., Any], database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A role may lack `changeStream`; then a wait for a result polls."""
    land = start(1, "--setParameter", "enableTestCommands=1")
    made = Settings(
        name="q", poll=0.05, sections={"mongo": MongoSettings(**land.settings), "mongo_db": database}
    )
    store = MongoResults(made)
    store.counts()
    with land.client() as client:
        told = {"failCommands": ["aggregate"], "errorCode": 13, "namespace": f"{database}.qcore.q.results"}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=told)
    kept = StoredResult(os.urandom(16), State.SUCCESS, b"", "a.task")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.wait, kept.id, 30.0)
        end = time.monotonic() + 45
        while "polled" not in caplog.text and not waiting.done():
            assert time.monotonic() < end
            threading.Event().wait(0.01)
        store.save([kept])
        assert waiting.result(45) == kept

    assert store.wait(os.urandom(16), 0.2) is None
    assert caplog.text.count("so results are polled") == 1
    store.close()
    land.close()


def test_a_timeout_for_every_operation_does_not_limit_waits(settings: Callable[..., Settings]) -> None:
    """`timeoutMS` limits operations, but not waits for changes."""
    asked = Asked()
    told = settings(timeoutMS=30_000, event_listeners=[asked])
    broker, store = MongoBroker(told), MongoResults(told)
    begin = time.monotonic()

    assert list(broker.lease(1, 0.5)) == []
    assert store.wait(os.urandom(16), 0.5) is None

    assert time.monotonic() - begin < 15
    assert len(asked.waits) >= 2
    assert all(0 < one <= 500 for one in asked.waits)
    broker.close()
    store.close()

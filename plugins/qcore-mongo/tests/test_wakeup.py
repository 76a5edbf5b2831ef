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


#: seconds after which a condition will not come true
TIMEOUT = 100.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds"
        threading.Event().wait(0.01)


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
    """A change of the primary loses cursors; the wait opens another and goes on."""
    broker = MongoBroker(settings())
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(broker.lease, 1, TIMEOUT)
        until(lambda: len(lose_first) == 2 or waiting.done())
        assert len(lose_first) == 2

        broker.enqueue([Outgoing(os.urandom(16), b"one")])

        assert [one.body for one in waiting.result(TIMEOUT)] == [b"one"]
    assert broker._waker._stream is not None
    broker.close()


def test_a_wait_for_a_result_survives_its_cursor(
    settings: Callable[..., Settings], lose_first: list[int]
) -> None:
    """A wait for a result does not end with an error when its cursor is lost."""
    store = MongoResults(settings())
    result = StoredResult(os.urandom(16), State.SUCCESS, b"", "a.task")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.wait, result.id, TIMEOUT)
        until(lambda: len(lose_first) == 2 or waiting.done())
        assert len(lose_first) == 2

        store.save([result])

        assert waiting.result(TIMEOUT) == result
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
        waiting = threads.submit(store.wait, kept.id, TIMEOUT)
        until(lambda: "polled" in caplog.text or waiting.done())
        store.save([kept])
        assert waiting.result(TIMEOUT) == kept

    assert store.wait(os.urandom(16), 0.2) is None
    assert caplog.text.count("so results are polled") == 1
    store.close()
    land.close()


def test_a_timeout_for_every_operation_does_not_limit_waits(settings: Callable[..., Settings]) -> None:
    """`timeoutMS` limits operations, but not waits for changes."""
    asked = Asked()
    told = settings(timeoutMS=int(TIMEOUT * 1000), event_listeners=[asked])
    broker, store = MongoBroker(told), MongoResults(told)
    # the stream is opened within the wait, and that may take a loaded machine all of it
    seconds = 0.5
    while len(asked.waits) < 2 and seconds < TIMEOUT:
        asked.waits.clear()
        assert list(broker.lease(1, seconds)) == []
        assert store.wait(os.urandom(16), seconds) is None
        bound, seconds = seconds, seconds * 2

    assert len(asked.waits) >= 2
    assert all(0 < one <= bound * 1000 for one in asked.waits)
    broker.close()
    store.close()

"""Change streams: what ends them, what does not, and what is done without them."""

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
    """Notes the milliseconds that the server is asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Look at a wait."""
        if event.command_name == "getMore":
            self.waits.append(event.command["maxTimeMS"])

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Take no notice."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Take no notice."""


@pytest.fixture
def settings(replicated: Any, database: str) -> Iterator[Callable[..., Settings]]:
    """Return a maker of settings of one queue; fields are those of the table `mongo`."""

    def make(**fields: Any) -> Settings:
        told = MongoSettings(**{**replicated.settings, **fields})
        return Settings(name="q", poll=0.05, sections={"mongo": told, "mongo_db": database})

    yield make
    with replicated.client() as client:
        client.drop_database(database)


@pytest.fixture
def lose_first(monkeypatch: pytest.MonkeyPatch, replicated: Any, database: str) -> Iterator[list[int]]:
    """Let the server forget the first cursor, as it does when it is no primary any more."""
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


def test_an_idle_worker_watches_anew_after_its_cursor_is_gone(
    settings: Callable[..., Settings], lose_first: list[int]
) -> None:
    """A change of the primary takes cursors along; the next wait opens another."""
    broker = MongoBroker(settings())

    assert list(broker.lease(1, 0.5)) == []

    assert broker._waker._stream is not None
    assert len(lose_first) == 2
    broker.enqueue([Outgoing(os.urandom(16), b"one")])
    assert len(broker.lease(1, 5.0)) == 1
    broker.close()


def test_a_wait_for_a_result_outlives_its_cursor(
    settings: Callable[..., Settings], lose_first: list[int]
) -> None:
    """Whoever waits for a result is not told of the server's matters."""
    store = MongoResults(settings())

    assert store.wait(os.urandom(16), 0.5) is None

    assert len(lose_first) == 2
    store.close()


def test_where_streams_are_refused_a_wait_polls_and_says_so_once(
    start: Callable[..., Any], database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A role may lack `changeStream`: whoever waits for a result looks again and again."""
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


def test_a_time_for_every_operation_leaves_waits_as_they_are(settings: Callable[..., Settings]) -> None:
    """`timeoutMS` bounds what is asked of the server, not how long it is asked to wait."""
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

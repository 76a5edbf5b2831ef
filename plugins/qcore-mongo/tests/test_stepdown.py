"""A broker's calls while the primary of a replica set changes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement, State, StoredResult
from qcore_mongo import MongoBroker, MongoResults, MongoSettings
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

#: messages that are sent, and seconds in which they must have come
MANY, TIMEOUT = 600, 120.0


def insistently(step: Callable[[], Any]) -> Any:
    """Repeat a step while the backend is unavailable, as producers and workers do."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return step()
        except BackendUnavailable:
            assert time.monotonic() < end


def watch(what: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < end
        threading.Event().wait(0.05)


def result(body: bytes) -> StoredResult:
    """Return a result for the task of a message."""
    return StoredResult(b"%016d" % int(body), State.SUCCESS, body, "a.task")


def test_nothing_is_lost_while_primaries_change(three: Any, database: str) -> None:
    """Producers and consumers repeat failed calls; no message and no result is lost."""
    sections = {"mongo": MongoSettings(**three.settings), "mongo_db": database}

    def settings() -> Settings:
        return Settings(name="q", retry=5.0, sections=sections, owner=os.urandom(16))

    def produce(tell: Callable[[str], None]) -> None:
        broker = MongoBroker(settings())
        for number in range(0, MANY, 5):
            sent = [Outgoing(b"%016d" % (number + one), b"%d" % (number + one)) for one in range(5)]
            # the same ids again: what was accepted already is not doubled
            insistently(lambda: broker.enqueue(sent))  # noqa: B023 - used at once
            tell("sent")

    def consume(tell: Callable[[str], None]) -> None:
        broker, store = MongoBroker(settings()), MongoResults(settings())
        while True:
            found = insistently(lambda: broker.lease(7, 1.0))
            results = [
                StoredResult(b"%016d" % int(one.body), State.SUCCESS, one.body, "a.task") for one in found
            ]
            done = [Settlement(one.receipt) for one in found]
            insistently(lambda: broker.commit_and_lease(store, results, done, 0))  # noqa: B023 - used at once
            for one in found:
                tell(one.body.decode())

    seen: Counter[str] = Counter()
    with (
        Child(produce, timeout=TIMEOUT) as producer,
        Child(consume, timeout=TIMEOUT) as one,
        Child(consume, timeout=TIMEOUT) as other,
    ):
        for harm in (three.step_down, three.step_down, lambda: three.primary().kill()):
            for _ in range(20):
                assert producer.line() == "sent"
            seen.update(child.line() for child in (one, other) for _ in range(20))
            harm()
        assert producer.join() == 0
        broker, store = MongoBroker(settings()), MongoResults(settings())
        end = time.monotonic() + TIMEOUT
        with contextlib.suppress(BackendUnavailable):
            broker.size()
        while (size := insistently(broker.size)).ready + (size.leased or 0) + (size.delayed or 0):
            assert time.monotonic() < end

    found = insistently(lambda: store.get([b"%016d" % number for number in range(MANY)]))
    assert [b"%d" % number for number in range(MANY)] == [kept and kept.body for kept in found]
    assert size.dead_letters == 0
    broker.close()
    store.close()


def test_waiting_processes_are_woken_by_the_next_primary(three: Any, database: str) -> None:
    """A step-down ends cursors; idle workers and producers open new ones."""
    sections = {"mongo": MongoSettings(**three.settings), "mongo_db": database}
    made = Settings(name="q", sections=sections)
    idle, waiting, broker, store = (
        kind(made) for kind in (MongoBroker, MongoResults, MongoBroker, MongoResults)
    )
    stream: Any = idle._waker._stream
    insistently(broker.size)
    insistently(store.counts)

    with ThreadPoolExecutor() as threads:
        leased = threads.submit(insistently, lambda: idle.lease(1, TIMEOUT))
        kept = threads.submit(insistently, lambda: waiting.wait(b"%016d" % 1, TIMEOUT))
        watch(lambda: stream._cursor is not None)
        before = stream._cursor
        three.step_down()
        # the old primary answers once more; its cursor is unknown to the next one
        watch(lambda: idle._waker._stream is None or stream._cursor not in {None, before})
        insistently(lambda: broker.enqueue([Outgoing(b"%016d" % 1, b"1")]))
        insistently(lambda: store.save([result(b"1")]))

        assert [one.body for one in leased.result(TIMEOUT)] == [b"1"]
        assert kept.result(TIMEOUT) == result(b"1")
    assert idle._waker._stream is stream
    for one in (idle, waiting, broker, store):
        one.close()

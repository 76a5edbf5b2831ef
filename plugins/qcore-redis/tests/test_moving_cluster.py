"""Producers, readers and workers while the slot of their queue is moved."""

from __future__ import annotations

import binascii
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing, State, StoredResult
from qcore_redis import RedisBroker, RedisResults, codec
from qcore_redis.connection import Connection
from qcore_redis.nodes import slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOT: Final = binascii.crc_hqx(b"qcore:q", 0) % 16384
LARGE: Final = bytes(codec.LARGE)


@pytest.fixture
def moving(nodes: Any) -> Iterator[Any]:
    """Return the two nodes, empty, the slot of the queue with the first."""
    nodes.reset(SLOT)
    yield nodes
    nodes.reset(SLOT)


@pytest.fixture
def made(moving: Any) -> Iterator[tuple[RedisBroker, RedisResults]]:
    """Return a broker and a store of the queue."""
    settings = Settings(name="q", sections={"redis": moving.url})
    broker, store = RedisBroker(settings), RedisResults(settings)
    yield broker, store
    broker.close()
    store.close()


def message(body: bytes, delay: float = 0.0) -> Outgoing:
    """Return a message of an id of its own."""
    return Outgoing(os.urandom(16), body, delay)


def success() -> StoredResult:
    """Return a result."""
    return StoredResult(os.urandom(16), State.SUCCESS, b"body", "a.task", None, time.time())


def until(condition: Callable[[], object]) -> None:
    """Wait for something that others do."""
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("key", "text"),
    [(b"{qcore:q}:q", b"qcore:q"), (b"plain", b"plain"), (b"{}:q", b"{}:q"), (b"a{b}{c}", b"b")],
)
def test_the_slot_of_a_key_is_that_of_its_braces(nodes: Any, key: bytes, text: bytes) -> None:
    """As the server counts it."""
    assert slot_of(key) == binascii.crc_hqx(text, 0) % 16384 == nodes.tell(0, "CLUSTER", "KEYSLOT", key)


def test_producers_and_readers_go_where_the_key_is(
    moving: Any, made: tuple[RedisBroker, RedisResults]
) -> None:
    """With half of the keys moved they are served by both nodes, and once all are, by the other."""
    broker, store = made
    broker.enqueue([message(b"first")])
    store.save([kept := success()])
    moving.begin(SLOT)
    moving.move([b"{qcore:q}:q"])
    broker.enqueue([message(b"second")])
    assert store.get([kept.id]) == [kept]
    moving.move_all(SLOT)
    broker.enqueue([message(b"third")])
    assert store.get([kept.id]) == [kept]
    moving.end(SLOT)
    broker.enqueue([message(b"fourth")])
    assert store.get([kept.id]) == [kept]

    found = [one.body for _ in range(4) for one in broker.lease(1, 0.0)]
    assert found == [b"first", b"second", b"third", b"fourth"]


def test_a_large_message_waits_for_the_end_of_the_move(
    moving: Any, made: tuple[RedisBroker, RedisResults]
) -> None:
    """It is accepted by the node that has the slot then, once, and no body is left with the other."""
    broker, _ = made
    broker.enqueue([message(LARGE + b"first")])
    moving.begin(SLOT)
    refused = moving.refusals()
    with ThreadPoolExecutor(1) as threads:
        enqueuing = threads.submit(broker.enqueue, [message(LARGE + b"second")])
        until(lambda: moving.refusals() > refused)
        moving.move_all(SLOT)
        moving.end(SLOT)
        enqueuing.result(45)
    broker.enqueue([message(LARGE + b"third")])

    found = [one.body for _ in range(3) for one in broker.lease(1, 0.0)]
    assert found == [LARGE + b"first", LARGE + b"second", LARGE + b"third"]
    assert moving.clients[0].keys(b"*:b:*") == []
    assert [moving.clients[1].pttl(key) for key in moving.clients[1].keys(b"*:b:*")] == [-1] * 3


def test_a_reader_waits_until_its_time_is_over(moving: Any, made: tuple[RedisBroker, RedisResults]) -> None:
    """A slot that is moved is not an answer: what is stored when the move is over comes, or nothing."""
    _, store = made
    other, late = success(), success()
    store.save([other])
    moving.begin(SLOT)
    since = time.monotonic()
    assert store.wait(late.id, 0.5) is None
    assert time.monotonic() - since >= 0.5
    # what can be read is read at once
    assert store.wait(other.id, 45.0) == other

    refused = moving.refusals()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(store.wait, late.id, 45.0)
        until(lambda: moving.refusals() > refused)
        moving.move_all(SLOT)
        moving.end(SLOT)
        writer = RedisResults(Settings(name="q", sections={"redis": moving.url}))
        writer.save([late])
        assert waiting.result(45) == late
    writer.close()


def test_one_that_waits_while_the_slot_goes_is_told_where_it_is(
    moving: Any, made: tuple[RedisBroker, RedisResults]
) -> None:
    """A consumer and a reader that wait in the server go on with the other node."""
    broker, store = made
    late = success()
    clients = moving.clients[0]
    with ThreadPoolExecutor(2) as threads:
        leasing = threads.submit(broker.lease, 1, 45.0)
        reading = threads.submit(store.wait, late.id, 45.0)
        until(lambda: clients.info("clients")["blocked_clients"] == 2)
        moving.begin(SLOT)
        moving.move_all(SLOT)
        moving.end(SLOT)
        settings = Settings(name="q", sections={"redis": moving.url})
        other, writer = RedisBroker(settings), RedisResults(settings)
        other.enqueue([message(b"came")])
        writer.save([late])

        assert [one.body for one in leasing.result(45)] == [b"came"]
        assert reading.result(45) == late
    other.close()
    writer.close()


def test_what_needs_the_whole_queue_waits_for_the_end_of_the_move(
    moving: Any, made: tuple[RedisBroker, RedisResults]
) -> None:
    """A delayed message is accepted late rather than refused, if the move ends soon."""
    broker, _ = made
    broker.enqueue([message(b"first")])
    moving.begin(SLOT)
    refused = moving.refusals()
    with ThreadPoolExecutor(1) as threads:
        accepted = threads.submit(broker.enqueue, [message(b"late", 600.0)])
        until(lambda: moving.refusals() > refused)
        moving.move_all(SLOT)
        moving.end(SLOT)
        accepted.result(45)

    assert (broker.size().ready, broker.size().delayed) == (1, 1)


def test_a_move_that_takes_long_is_told_as_such(moving: Any) -> None:
    """It is passing, and the message says what goes on."""
    broker = RedisBroker(Settings(name="q", sections={"redis": f"{moving.url}?socket_timeout=0.5"}))
    broker.enqueue([message(b"first")])
    moving.begin(SLOT)
    with pytest.raises(BackendUnavailable, match="is moving this queue to another node"):
        broker.lease(1, 0.0)
    broker.close()


def test_a_single_server_of_a_cluster_is_told_from_the_cluster(
    moving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names one node and not the cluster learns how to name it, at once: nothing is asked twice."""
    asked: list[object] = []
    ask = Connection.ask

    def noted(connection: Connection, words: tuple[Any, ...], deadline: float, before: Any = ()) -> Any:
        asked.append(words)
        return ask(connection, words, deadline, before)

    monkeypatch.setattr(Connection, "ask", noted)
    broker = RedisBroker(Settings(name="q", sections={"redis": f"redis://127.0.0.1:{moving.ports[1]}"}))

    with pytest.raises(BackendUnavailable, match="redis\\+cluster://"):
        broker.ping() or broker.enqueue([message(b"first")])

    assert asked
    assert len(asked) == len(set(asked))
    broker.close()


TASKS = """
import time


def slowly(number):
    time.sleep(0.02)
    return number
"""


def test_workers_killed_while_the_slot_is_moved_lose_nothing(
    moving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """There and back, a worker killed in each move: every task is done, and nobody ends in a traceback."""
    before = {thread.name for thread in threading.enumerate()}
    (tmp_path / "moving_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = Config.from_dict(
        {
            "name": "q",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "save_limit": 0,
            "redis": moving.url,
        }
    )
    app = App(config)
    jobs = [app.enqueue("moving_tasks.slowly", number) for number in range(300)]
    with Cluster(config) as cluster:
        for source in (0, 1, 0):
            finished = sum(app.runtime.make_store().counts().values())
            moving.begin(SLOT, source)
            workers = [worker.pid for worker in cluster.status().workers if worker.pid]
            moving.move(moving.tell(source, "CLUSTER", "GETKEYSINSLOT", SLOT, 3), source)
            os.kill(workers[0], signal.SIGKILL)
            until(lambda gone=workers[0]: gone not in {one.pid for one in cluster.status().workers})  # type: ignore[misc]  # binds the loop's value
            moving.move_all(SLOT, source)
            moving.end(SLOT, 1 - source)
            until(lambda before=finished: sum(app.runtime.make_store().counts().values()) > before)  # type: ignore[misc]  # as above
        assert [job.result(wait=100) for job in jobs] == list(range(300))
    app.close()

    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "CRITICAL" not in told
    # other tests of this process may have left threads
    assert {thread.name for thread in threading.enumerate()} <= before

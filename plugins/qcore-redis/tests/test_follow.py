"""What follows from a result is put in with it, or neither."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import ID_AT, Action, Outgoing, QueueSize, Settlement, State, StoredResult
from qcore_redis import RedisBroker, RedisResults, RedisSettings
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.model import Delivery


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def make(any_server: Any, queue: str) -> Callable[..., tuple[RedisBroker, RedisResults]]:
    """Return a maker of brokers and stores of one queue."""
    sections = {"redis": RedisSettings(unix_socket_path=any_server.path)}

    def make(name: str = queue) -> tuple[RedisBroker, RedisResults]:
        settings = Settings(name=name, sections=sections)
        return RedisBroker(settings), RedisResults(settings)

    return make


def message(body: bytes, delay: float = 0.0) -> Outgoing:
    """Return a message of an id of its own."""
    return Outgoing(os.urandom(16), body, delay)


def result() -> StoredResult:
    """Return a success."""
    return StoredResult(os.urandom(16), State.SUCCESS, b"r", "a.task", None, time.time())


def taken(broker: RedisBroker) -> Delivery:
    """Enqueue a message and lease it."""
    broker.enqueue([message(b"first")])
    (one,) = broker.lease(1, 0.0)
    return one


def test_what_follows_may_be_of_any_kind(make: Callable[..., tuple[RedisBroker, RedisResults]]) -> None:
    """Small, large and delayed ones come in their order, and the next lease finds them."""
    broker, store = make()
    then = [message(b"second"), message(bytes(20_000)), message(b"later", 60.0), message(b"third")]

    found = list(broker.commit_and_lease(store, [result()], [Settlement(taken(broker).receipt)], 10, then))
    while len(found) < 3:
        found += broker.commit_and_lease(None, (), (), 10)

    assert [one.body for one in found] == [b"second", bytes(20_000), b"third"]
    assert broker.size() == QueueSize(ready=0, leased=3, delayed=1, dead_letters=0)
    assert store.counts() == {State.SUCCESS: 1}


def test_it_wakes_one_that_waits(make: Callable[..., tuple[RedisBroker, RedisResults]]) -> None:
    """A worker that waits in the server has it at once."""
    broker, _ = make()
    held = taken(broker)

    def work(tell: Callable[[str], None]) -> None:
        tell("waits")
        (one,) = make()[0].lease(1, 25.0)
        tell(one.body.decode())

    with Child(work, timeout=30) as child:
        assert child.line() == "waits"
        since = time.monotonic()
        broker.commit_and_lease(None, (), [Settlement(held.receipt)], 0, [message(b"second")])

        assert child.line() == "second"
        assert time.monotonic() - since < 10


def test_results_kept_elsewhere_come_first(make: Callable[..., tuple[RedisBroker, RedisResults]]) -> None:
    """With a store of another queue, or more than one step takes, they are stored before the rest."""
    broker, near = make()
    _, far = make("another")
    many = [result() for _ in range(1500)]
    held = taken(broker)

    found = broker.commit_and_lease(far, many[:5], [Settlement(held.receipt)], 1, [message(b"second")])
    found = broker.commit_and_lease(near, many, [Settlement(found[0].receipt)], 1, [message(b"third")])

    assert [one.body for one in found] == [b"third"]
    assert far.counts() == {State.SUCCESS: 5}
    assert near.counts() == {State.SUCCESS: 1500}
    far.prune(0)


@pytest.mark.parametrize("kind", ["redis7", "valkey9", "redis6.2"])
def test_what_follows_is_put_in_by_a_full_server(start: Callable[..., Any], kind: str) -> None:
    """At maxmemory a message that takes the place of another is accepted: a chain goes on."""
    server = start(kind)
    broker = RedisBroker(
        Settings(name="full", sections={"redis": RedisSettings(unix_socket_path=server.path)})
    )
    held = taken(broker)
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)

    found = broker.commit_and_lease(None, (), [Settlement(held.receipt)], 1, [message(b"second")])

    assert [one.body for one in found] == [b"second"]


def test_a_thousand_follow_at_once(make: Callable[..., tuple[RedisBroker, RedisResults]]) -> None:
    """A task may ask for many more."""
    broker, _ = make()
    then = [message(b"%d" % number) for number in range(5000)]

    broker.commit_and_lease(None, (), [Settlement(taken(broker).receipt)], 0, then)

    assert broker.size().ready == 5000
    assert broker.lease(1, 0.0)[0].body == b"0"


# -- replies that are lost ------------------------------------------------------------------


@pytest.fixture
def behind(own: Any, make_proxy: Callable[[str], Any]) -> Iterator[tuple[Any, RedisBroker, RedisResults]]:
    """Return a line that can fall silent, and a broker and a store behind it."""
    proxy = make_proxy(own.path)
    section = RedisSettings(host="127.0.0.1", port=proxy.port, socket_timeout=2.0)
    settings = Settings(name="cut", sections={"redis": section})
    broker, store = RedisBroker(settings), RedisResults(settings)
    yield proxy, broker, store
    broker.close()
    store.close()


def test_a_lost_answer_says_that_it_may_be_in(behind: tuple[Any, RedisBroker, RedisResults]) -> None:
    """Nothing is sent twice; what was done was done whole, and ending the lease again changes nothing."""
    proxy, broker, store = behind
    broker.enqueue([message(b"first")])
    (held,) = broker.lease(1, 0.0)
    ends = [Settlement(held.receipt)]
    broker.commit_and_lease(None, (), (), 0, [message(b"the script is known")])

    proxy.answer = False
    with pytest.raises(BackendUnavailable, match="the messages may have been accepted"):
        broker.commit_and_lease(store, [result()], ends, 0, [message(b"second")])
    proxy.answer = True
    broker.commit_and_lease(store, (), [Settlement(held.receipt, Action.RETRY)], 0)

    assert store.counts() == {State.SUCCESS: 1}
    assert [one.body for one in broker.lease(10, 0.0)] == [b"the script is known", b"second"]
    assert broker.size() == QueueSize(ready=0, leased=2, delayed=0, dead_letters=0)


def test_it_is_there_or_not_with_the_results_it_follows_from(lasting: Any) -> None:
    """A worker that is killed amid its exchanges leaves for each result what follows, for none without."""
    sections = {"redis": RedisSettings(unix_socket_path=lasting.path)}
    settings = Settings(name="killed", sections=sections)
    broker, store = RedisBroker(settings), RedisResults(settings)
    broker.enqueue([message(b"%d" % number) for number in range(3000)])

    def work(tell: Callable[[str], None]) -> None:
        mine, kept = RedisBroker(settings), RedisResults(settings)
        held = mine.lease(1, 0.0)
        for _ in range(3000):
            told = result()
            ends = [Settlement(one.receipt) for one in held]
            held = mine.commit_and_lease(
                kept, [told], ends, 1, [Outgoing(told.id, bytes(ID_AT.start) + told.id, 60.0)]
            )
            tell("one")

    for goal in (3, 30, 90):
        with Child(work, timeout=30) as child:
            for _ in range(goal):
                assert child.line() == "one"
            child.kill()

    size, count = broker.size(), store.counts()[State.SUCCESS]
    assert size.delayed == count >= 123
    assert size.ready == 3000 - count - (size.leased or 0)
    ids = [one.id for one in store.recent(limit=3000)]
    assert sorted(body[ID_AT] for body in broker.remove_messages(ids)) == sorted(ids)

"""Messages that are removed from a queue others work on."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import ID_AT, Action, Outgoing, QueueSize, Settlement
from qcore_redis import RedisBroker, RedisSettings, codec
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def make(any_server: Any, queue: str) -> Callable[..., RedisBroker]:
    """Return a maker of brokers of one queue, each on a connection of its own."""
    sections = {"redis": RedisSettings(unix_socket_path=any_server.path)}
    return lambda **fields: RedisBroker(Settings(name=queue, sections=sections, **fields))


def message(size: int = 100, delay: float = 0.0) -> Outgoing:
    """Return a message whose body bears its id."""
    id_ = os.urandom(16)
    return Outgoing(id_, (os.urandom(ID_AT.start) + id_).ljust(size, b"."), delay)


def ids(messages: Sequence[Outgoing]) -> list[bytes]:
    """Return the ids of messages."""
    return [one.id for one in messages]


def drained(broker: RedisBroker) -> list[bytes]:
    """Take and settle all that is ready; return the bodies."""
    found = []
    while taken := broker.lease(1000, 0.0):
        found += [one.body for one in taken]
        broker.settle([Settlement(one.receipt) for one in taken])
    return found


@pytest.mark.parametrize("size", [100, codec.LARGE, codec.LARGE + 1, 300_000])
def test_what_waits_is_removed(
    make: Callable[..., RedisBroker], any_server: Any, queue: str, size: int
) -> None:
    """Ready, delayed, come back and twice there, small or large; the rest stays in its order."""
    broker = make()
    back = [message(size), message(size, 60.0)]
    broker.enqueue(back)
    (one,) = broker.lease(1, 0.0)
    broker.settle([Settlement(one.receipt, Action.RETRY, failures=2)])
    later = [message(size), message(size, 60.0)]
    broker.enqueue(later)
    for one in broker.lease(1, 0.0):
        broker.settle([Settlement(one.receipt, Action.RETRY, delay=60.0, failures=3)])
    twice = message(size)
    mine = [*back, *later, twice]
    others = [message(size) for _ in range(7)]
    broker.enqueue([*others[:4], twice, *others[4:], message(size, 60.0), twice])

    found = broker.remove_messages([*ids(mine), os.urandom(16)])

    assert sorted(found) == sorted([*[one.body for one in mine], twice.body])
    assert broker.size() == QueueSize(ready=7, leased=0, delayed=1, dead_letters=0)
    assert drained(broker) == [one.body for one in others]
    assert (broker.purge(), list(broker.remove_messages(ids(mine))), list(broker.remove_messages([]))) == (
        1,
        [],
        [],
    )
    with any_server.client() as client:
        assert client.keys(f"*{queue}*b:*") == []


def test_leases_and_dead_letters_stay(make: Callable[..., RedisBroker]) -> None:
    """A worker that has it keeps it; a dead letter is for the operator."""
    broker = make()
    messages = [message(), message(20_000)] * 2
    broker.enqueue([messages[0], messages[1]])
    broker.settle(
        [
            Settlement(one.receipt, Action.DEAD_LETTER, reason="no")
            for _ in range(2)
            for one in broker.lease(1, 0.0)
        ]
    )
    messages = [*messages[:2], message(), message(20_000)]
    broker.enqueue(messages[2:])
    leased = [one for _ in range(2) for one in broker.lease(1, 0.0)]

    assert list(broker.remove_messages(ids(messages))) == []

    assert broker.size() == QueueSize(ready=0, leased=2, delayed=0, dead_letters=2)
    assert [one.body for one in leased] == [one.body for one in messages[2:]]
    broker.settle([Settlement(one.receipt, Action.RELEASE) for one in leased])
    assert len(broker.remove_messages(ids(messages))) == 2
    assert len(broker.dead_letters()) == 2


def test_ended_leases_hold_nothing(make: Callable[..., RedisBroker]) -> None:
    """A hundred leases that have run out at once are not an obstacle, though nobody looks for work."""
    broker = make(retry=1.0)
    many = [message() for _ in range(150)]
    broker.enqueue(many)
    for _ in many:
        assert broker.lease(1, 0.0)
    last = many[-1]
    end = time.monotonic() + 100
    while broker.size().leased:
        assert time.monotonic() < end
        threading.Event().wait(0.01)

    assert list(broker.remove_messages([last.id])) == [last.body]
    assert len(broker.remove_messages(ids(many))) == 149


def test_nothing_is_lost_between_those_who_take(make: Callable[..., RedisBroker]) -> None:
    """While two work on twenty thousand messages and one adds more, each is worked on or removed, once."""
    broker = make(retry=60.0)
    many = [message(80, 60.0 if number % 10 == 0 else 0.0) for number in range(20_000)]
    for start in range(0, len(many), 500):
        broker.enqueue(many[start : start + 500])

    def consume(tell: Callable[[str], None]) -> None:
        worker = make(retry=60.0)
        for turn in range(120):
            taken = worker.lease(30, 0.0)
            # one goes back, to the front or among the delayed
            ends = [Settlement(one.receipt) for one in taken[1:]]
            ends += [Settlement(one.receipt, Action.RELEASE, 60.0 * (turn % 2)) for one in taken[:1]]
            worker.settle(ends)
            tell(" ".join(one.body[ID_AT].hex() for one in taken))

    def produce(tell: Callable[[str], None]) -> None:
        producer = make()
        for _ in range(100):
            producer.enqueue([message(80) for _ in range(20)])
        tell("done")

    wanted = [one.id for number, one in enumerate(many) if number % 7 == 0]
    with (
        Child(consume, timeout=30) as first,
        Child(consume, timeout=30) as second,
        Child(produce, timeout=30) as third,
    ):
        told = [first.line(), second.line()]
        found = [body[ID_AT] for body in broker.remove_messages(wanted)]
        told += first.lines() + second.lines()
        assert third.join() == 0

    turns = [[bytes.fromhex(word) for word in (line or "").split()] for line in told]
    done = [id_ for ids_ in turns for id_ in ids_[1:]]
    assert len(turns) == 240
    assert len(found) > 1000
    assert Counter(found + done).most_common(1)[0][1] == 1
    left = {body[ID_AT] for body in broker.remove_messages(ids(many))}
    # what was leased just then is not removed; it may have come back since
    assert left & set(wanted) <= {id_ for ids_ in turns for id_ in ids_[:1]}
    assert left | set(found) | set(done) == set(ids(many))
    assert broker.size() == QueueSize(ready=2000, leased=0, delayed=0, dead_letters=0)


def test_those_who_take_back_at_once_do_not_miss(make: Callable[..., RedisBroker]) -> None:
    """Six who look for others of six thousand messages find all, each of them once."""
    broker = make()
    many = [message(200, 60.0 * (number // 6 % 2)) for number in range(6000)]
    for start in range(0, 6000, 1000):
        broker.enqueue(many[start : start + 1000])
    begin = threading.Event()
    found: list[list[bytes]] = [[] for _ in range(6)]

    def look(number: int) -> None:
        mine = make()
        begin.wait()
        for part in range(4):
            found[number] += mine.remove_messages(ids(many[number::6][part * 250 : (part + 1) * 250]))

    threads = [threading.Thread(target=look, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    begin.set()
    for thread in threads:
        thread.join()

    assert sorted(body for one in found for body in one) == sorted(one.body for one in many)
    assert broker.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)


def test_many_large_messages_are_removed_in_steps(make: Callable[..., RedisBroker]) -> None:
    """A step ends early where the bodies are large, and the next goes on."""
    broker = make()
    many = [message(3_000_000, 60.0 * (number % 2)) for number in range(14)]
    for one in many:
        broker.enqueue([one])

    assert len(broker.remove_messages(ids(many[:12]))) == 12

    assert broker.size() == QueueSize(ready=1, leased=0, delayed=1, dead_letters=0)


def test_messages_that_bear_no_id_are_passed_over(make: Callable[..., RedisBroker]) -> None:
    """A body that is too short is nobody's, and stays."""
    broker = make()
    broker.enqueue([Outgoing(bytes(16), b"short"), Outgoing(bytes(16), b""), Outgoing(bytes(16), b"", 60.0)])

    assert list(broker.remove_messages([b"", b"short", bytes(16)])) == []
    assert broker.size() == QueueSize(ready=2, leased=0, delayed=1, dead_letters=0)


def test_a_lost_answer_says_that_messages_may_be_gone(
    own: Any, make_proxy: Callable[[str], Any], queue: str
) -> None:
    """It is not asked again by itself: what was removed cannot be told any more."""
    proxy = make_proxy(own.path)
    section = RedisSettings(host="127.0.0.1", port=proxy.port, socket_timeout=2.0)
    broker = RedisBroker(Settings(name=queue, sections={"redis": section}))
    one = message()
    broker.enqueue([one])
    broker.remove_messages([os.urandom(16)])

    proxy.answer = False
    with pytest.raises(BackendUnavailable, match="some of the messages may have been removed"):
        broker.remove_messages([one.id])
    proxy.answer = True

    assert broker.size().ready in (0, 1)
    broker.close()

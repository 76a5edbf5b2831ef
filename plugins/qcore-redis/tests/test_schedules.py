"""Schedules that an earlier version wrote, and ones whose tasks go elsewhere."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest

from qcore.interfaces import Settings
from qcore.model import Outgoing, Schedule
from qcore_redis import RedisBroker, RedisSchedules, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable

#: the fields of the first version
EARLIER = {
    "name": "s",
    "task": "a.task",
    "body": b"sealed",
    "rule": "every 60 seconds",
    "time_zone": "UTC",
    "next_run": 1000.0,
    "anchor": 0.0,
    "repeats": 3,
    "kept": 0,
    "catch_up": None,
    "declared": True,
    "fault": "",
}
NOW = Schedule(name="s", task="a.task", body=b"sealed", rule="every 60 seconds", next_run=1000.0, repeats=3)


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def settings(any_server: Any, queue: str) -> Callable[..., Settings]:
    """Return a maker of settings of one queue or another."""
    sections = {"redis": RedisSettings(unix_socket_path=any_server.path)}
    return lambda name=queue: Settings(name=name, sections=sections)


def write(server: Any, queue: str, **fields: Any) -> bytes:
    """Write a schedule as another version does."""
    value = struct.pack(">d", 1000.0) + msgspec.msgpack.encode(EARLIER | fields)
    with server.client() as client:
        client.hset(f"{{qcore:{queue}}}:c", "s", value)
        client.zadd(f"{{qcore:{queue}}}:cz", {"s": 1000.0})
    return value


@pytest.mark.parametrize("declared", [True, False])
def test_a_schedule_of_an_earlier_version_fires(
    settings: Callable[..., Settings], any_server: Any, queue: str, declared: bool
) -> None:
    """It is read with the new fields at rest, advances, and is claimed once meanwhile."""
    write(any_server, queue, declared=declared)
    one, other, broker = RedisSchedules(settings()), RedisSchedules(settings()), RedisBroker(settings())

    assert list(one.claim_due(1001.0, 5, 60.0)) == [NOW]
    assert list(other.claim_due(1002.0, 5, 60.0)) == []
    assert list(other.all()) == [NOW]
    after = attrs.evolve(NOW, next_run=1060.0, repeats=2)
    assert one.fire(broker, [Outgoing(bytes(16), b"slot")], NOW, after)

    assert list(one.all()) == [after]
    assert broker.size().ready == 1


def test_a_schedule_that_is_only_looked_at_can_be_changed(
    settings: Callable[..., Settings], any_server: Any, queue: str
) -> None:
    """What `all` returns is what `advance` compares with, whoever wrote it."""
    write(any_server, queue)
    store = RedisSchedules(settings())
    (found,) = store.all()

    assert store.advance(found, attrs.evolve(found, repeats=0))


def test_what_a_later_version_says_besides_is_not_lost(
    settings: Callable[..., Settings], any_server: Any, queue: str
) -> None:
    """A schedule with fields that are unknown here is left to those who know them."""
    value = write(any_server, queue, declared="", hue="blue")
    store = RedisSchedules(settings())

    assert list(store.all()) == list(store.claim_due(1001.0, 5, 60.0)) == [NOW]
    assert not store.advance(NOW, None)
    with any_server.client() as client:
        assert client.hget(f"{{qcore:{queue}}}:c", "s") == value


def test_a_slot_for_another_queue_is_put_there_before_it_is_done(
    settings: Callable[..., Settings], queue: str
) -> None:
    """The queue `cluster` names may lie on another node: enqueued first, advanced then, both by name."""
    name = f"{queue}-other"
    store, other, mine = RedisSchedules(settings()), RedisBroker(settings(name)), RedisBroker(settings())
    before = attrs.evolve(NOW, queue=name, overlap="queue", jitter=2.5, declared="a.module")
    after = attrs.evolve(before, next_run=1060.0)
    store.add(before)
    slot = [Outgoing(bytes(16), b"slot")]

    assert store.transaction_domain != other.capabilities.transaction_domain
    assert store.fire(other, slot, before, after)
    # one that was too late enqueues, under the same id, and is told that it was
    assert not store.fire(other, slot, before, after)

    assert list(store.all()) == [after]
    assert (other.size().ready, mine.size().ready) == (2, 0)

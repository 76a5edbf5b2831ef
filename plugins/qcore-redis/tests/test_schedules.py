"""What is not a schedule, and schedules whose tasks go elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore.model import Outgoing, StoredSchedule
from qcore_redis import RedisBroker, RedisSchedules, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def settings(any_server: Any, queue: str) -> Callable[..., Settings]:
    """Return a maker of settings of one queue or another."""
    sections = {"redis": RedisSettings(unix_socket_path=any_server.path)}
    return lambda name=queue: Settings(name=name, sections=sections)


def test_what_is_no_schedule_is_a_dead_letter(
    settings: Callable[..., Settings], any_server: Any, queue: str
) -> None:
    """A name or a value that this store never wrote is set aside, and the others are found."""
    store, broker = RedisSchedules(settings()), RedisBroker(settings())
    sound = StoredSchedule("s", b"sealed", 1000.0)
    store.add(sound)
    with any_server.client() as client:
        client.hset(f"{{qcore:{queue}}}:c", mapping={"short": b"1", b"\xff": bytes(20)})
        client.zadd(f"{{qcore:{queue}}}:cz", {"short": 1.0, b"\xff": 1.0})

    assert list(store.all()) == [sound]
    assert list(store.claim_due(1001.0, 5, 60.0)) == [sound]

    reasons = sorted(one.reason for one in broker.dead_letters())
    assert len(reasons) == 2
    assert "the schedule short cannot be read" in reasons[0]


def test_a_slot_for_another_queue_is_put_there_before_it_is_done(
    settings: Callable[..., Settings], queue: str
) -> None:
    """The queue `cluster` names may lie on another node: enqueued first, advanced then, both by name."""
    name = f"{queue}-other"
    store, other, mine = RedisSchedules(settings()), RedisBroker(settings(name)), RedisBroker(settings())
    before = StoredSchedule("s", b"before", 1000.0)
    after = StoredSchedule("s", b"after", 1060.0)
    store.add(before)
    slot = [Outgoing(bytes(16), b"slot")]

    assert store.transaction_domain != other.capabilities.transaction_domain
    assert store.fire(other, slot, before, after)
    # one that was too late enqueues, under the same id, and learns that it was
    assert not store.fire(other, slot, before, after)

    assert list(store.all()) == [after]
    assert (other.size().ready, mine.size().ready) == (2, 0)

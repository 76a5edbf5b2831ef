"""Which keys signed what is stored, and how it is signed anew."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_redis import RedisBroker, RedisSettings

#: sizes of a message, and of one whose body lies apart
SIZES = (100, 20_000)


def body(key: bytes, number: int, size: int = 100) -> bytes:
    """Return what begins like a message signed with a key."""
    return b"Qc\1\1\0\0" + key + bytes(16) + number.to_bytes(16, "big") + bytes(size)


@pytest.fixture
def broker(shared: Any) -> Any:
    """Yield a broker of an empty queue."""
    client = shared.client()
    client.flushall()
    made = RedisBroker(
        Settings(name="keys", sections={"redis": RedisSettings(unix_socket_path=shared.path)}, owner=b"o")
    )
    yield made
    made.close()


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_state_are_counted_by_their_key(broker: RedisBroker, size: int) -> None:
    """Leased, ready, delayed and returned ones, more than one step looks at; none of them moves."""
    broker.enqueue([Outgoing(bytes(16), body(b"KEY1", number, size)) for number in range(3)])
    back, _held = broker.lease(2, 1.0)
    broker.settle([Settlement(back.receipt, Action.RETRY, 60.0)])
    count = 1200 if size < 1000 else 5
    broker.enqueue([Outgoing(bytes(16), body(b"KEY2", number)) for number in range(count)])
    broker.enqueue([Outgoing(bytes(16), body(b"KEY3", 1), delay=60.0)])
    before = broker.size()

    assert broker.key_ids() == Counter({b"KEY1": 3, b"KEY2": count, b"KEY3": 1})
    assert broker.size() == before


@pytest.mark.parametrize("size", SIZES)
def test_a_dead_letter_is_given_another_body(broker: RedisBroker, size: int) -> None:
    """All else of it stays, and requeuing it delivers the new body."""
    old, new = body(b"KEY1", 1, size), body(b"KEY2", 1, size)
    broker.enqueue([Outgoing(bytes(16), old)])
    (one,) = broker.lease(1, 1.0)
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no", failures=3)])
    (letter,) = broker.dead_letters()

    assert broker.replace_dead_letter(letter.id, new)
    assert not broker.replace_dead_letter("4711", new)

    (after,) = broker.dead_letters()
    assert (after.id, after.reason, after.failures, after.body) == (letter.id, "no", 3, new)
    broker.requeue([letter.id])
    (again,) = broker.lease(1, 1.0)
    assert again.body == new

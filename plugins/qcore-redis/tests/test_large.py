"""Large messages: their bodies are stored in front of what makes them visible."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_redis import RedisBroker, RedisSettings, accepting, codec
from qcore_redis.client import Client
from qcore_redis.connection import pack_set
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = bytes(codec.LARGE + 1)
ID = b"twelve bytes"


@pytest.fixture
def made(any_server: Any) -> Settings:
    """Return settings of a queue that no other test has."""
    section = RedisSettings(unix_socket_path=any_server.path)
    return Settings(name=f"q{os.urandom(4).hex()}", sections={"redis": section})


@pytest.fixture
def broker(made: Settings) -> Iterator[RedisBroker]:
    """Return a broker of it."""
    broker = RedisBroker(made)
    yield broker
    broker.close()


@pytest.fixture
def client(any_server: Any) -> Iterator[Any]:
    """Return a client of redis-py."""
    with any_server.client() as client:
        yield client


def put(broker: RedisBroker, *bodies: bytes) -> None:
    """Enqueue messages with these bodies."""
    broker.enqueue([Outgoing(os.urandom(16), body) for body in bodies])


def stored(client: Any, made: Settings) -> list[bytes]:
    """Return the keys of bodies."""
    return sorted(client.keys(f"{{qcore:{made.name}}}:b:*"))


def taken(broker: RedisBroker, count: int) -> list[bytes]:
    """Lease and acknowledge messages, and return their bodies."""
    found = []
    while len(found) < count:
        leased = broker.lease(count, 0.0)
        found += [one.body for one in leased]
        broker.settle([Settlement(one.receipt) for one in leased])
    return found


@pytest.mark.parametrize("size", [codec.LARGE, codec.LARGE + 1, 100_000, 3_000_000])
def test_a_body_comes_out_as_it_went_in(broker: RedisBroker, client: Any, made: Settings, size: int) -> None:
    """In one piece or in many, and nothing is left of it once its message has ended."""
    body = os.urandom(size)
    put(broker, body)
    assert all(client.pttl(key) == -1 for key in stored(client, made))

    assert taken(broker, 1) == [body]
    assert stored(client, made) == []


def test_small_and_large_ones_keep_their_order(broker: RedisBroker, client: Any, made: Settings) -> None:
    """More of them than a script takes as words of one command, in one call."""
    bodies = [(LARGE if number % 7 == 3 else b"") + b"%d" % number for number in range(2500)]
    put(broker, *bodies)
    assert len(stored(client, made)) == len(range(3, 2500, 7))

    assert taken(broker, len(bodies)) == bodies
    assert stored(client, made) == []


def test_no_script_is_given_a_large_body(broker: RedisBroker, client: Any) -> None:
    """It would copy it several times."""
    put(broker, LARGE)
    with client.monitor() as monitor:
        put(broker, LARGE)
        client.echo("end")
        told = []
        while "ECHO end" not in (said := monitor.next_command()["command"]):
            told.append(said)

    assert max(len(said) for said in told if said.startswith("EVALSHA")) < 1000


def test_what_a_producer_leaves_that_dies_in_between_goes_by_itself(
    broker: RedisBroker, client: Any, made: Settings
) -> None:
    """Its message is never seen, and its body has an expiry from the beginning."""
    key = f"{{qcore:{made.name}}}:b:".encode() + ID
    deadline = time.monotonic() + 45
    connection = broker._link.address.open(broker._queue, deadline)
    connection.ask((b"PING",), deadline, [pack_set(key, LARGE, accepting._ORPHANED)])
    connection.close()

    assert 0 < client.pttl(key) <= 60_000
    assert broker.size().ready == 0


def test_nothing_is_accepted_whose_body_is_gone(
    made: Settings, broker: RedisBroker, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may have stood still for a minute, or evicted it: all is stored once more."""
    link = Client(made.section("redis"), broker._queue)
    enqueue = script("enqueue_large", fills=True, alone=True)
    words = (1, ID, b"\0small", codec.far_item(ID))
    assert not link.run_behind([], enqueue, *words, unknown_outcome="", replicated=True)
    assert broker.size().ready == 0
    link.close()

    def gone(key: bytes, value: bytes, milliseconds: int) -> tuple[bytes, ...]:
        del value, milliseconds
        return pack_set(key + b"elsewhere", b"", 1)

    monkeypatch.setattr(accepting, "pack_set", gone)
    put(broker, b"small", LARGE)

    assert taken(broker, 2) == [b"small", LARGE]


def test_a_stranger_in_place_of_the_queue_is_set_aside(
    broker: RedisBroker, client: Any, made: Settings
) -> None:
    """The messages are accepted all the same, and no body is left over."""
    client.set(broker._queue, b"not a list")
    put(broker, LARGE, b"small")

    assert taken(broker, 2) == [LARGE, b"small"]
    assert stored(client, made) == []
    (letter,) = broker.dead_letters()
    assert "held something of another kind" in letter.reason


def test_scripts_that_a_server_has_forgotten_are_loaded_again(broker: RedisBroker, client: Any) -> None:
    """The bodies are not stored twice for it."""
    put(broker, LARGE)
    client.script_flush()
    put(broker, LARGE)

    assert taken(broker, 2) == [LARGE, LARGE]


@pytest.mark.parametrize("kind", ["redis7", "valkey9", "redis6.2"])
def test_a_full_server_takes_no_large_message(start: Callable[..., Any], kind: str) -> None:
    """It says why, and has nothing of it."""
    server = start(kind)
    made = Settings(name="full", sections={"redis": RedisSettings(unix_socket_path=server.path)})
    broker = RedisBroker(made)
    put(broker, *[bytes(2000)] * 1000)
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        with pytest.raises(BackendUnavailable, match="maxmemory"):
            put(broker, LARGE)
        assert stored(client, made) == []
        assert broker.size().ready == 1000
        client.config_set("maxmemory", 0)
    put(broker, LARGE)
    assert broker.size().ready == 1001
    broker.close()


ODD = {"delayed": (0.001, "", 0), "of another queue": (0.0, "mail", 0), "of a priority": (0.0, "", 5)}


@pytest.mark.parametrize("kind", ODD)
def test_a_large_one_may_be_of_any_kind(broker: RedisBroker, client: Any, made: Settings, kind: str) -> None:
    """Its body is stored in front of it too, among others of one call."""
    delay, *route = ODD[kind]
    odd = Outgoing(os.urandom(16), LARGE + b"odd", delay, *route)
    with client.monitor() as monitor:
        broker.enqueue([odd, Outgoing(os.urandom(16), b"small"), Outgoing(os.urandom(16), LARGE)])
        client.echo("end")
        told = []
        while "ECHO end" not in (said := monitor.next_command()["command"]):
            told.append(said)
    assert [client.pttl(key) for key in stored(client, made)] == [-1, -1]
    assert max(len(said) for said in told if said.startswith("EVALSHA")) < 1000

    assert sorted(taken(broker, 3)) == sorted([LARGE + b"odd", b"small", LARGE])
    assert stored(client, made) == []


def test_nothing_of_any_kind_is_accepted_whose_body_is_gone(
    broker: RedisBroker, client: Any, made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for those of the default kind: all is stored once more."""

    def gone(key: bytes, value: bytes, milliseconds: int) -> tuple[bytes, ...]:
        del value, milliseconds
        return pack_set(key + b"elsewhere", b"", 1)

    monkeypatch.setattr(accepting, "pack_set", gone)
    broker.enqueue([Outgoing(os.urandom(16), LARGE, 0.0, "mail", 1), Outgoing(os.urandom(16), b"small")])

    assert sorted(taken(broker, 2)) == sorted([LARGE, b"small"])
    assert [key for key in stored(client, made) if not key.endswith(b"elsewhere")] == []


def test_one_that_is_retried_keeps_its_body(broker: RedisBroker, client: Any, made: Settings) -> None:
    """The body has no expiry, however often its message is handed out."""
    put(broker, LARGE)
    for _ in range(2):
        (one,) = broker.lease(1, 1.0)
        broker.settle([Settlement(one.receipt, Action.RETRY, failures=1)])
    assert [client.pttl(key) for key in stored(client, made)] == [-1]

    assert taken(broker, 1) == [LARGE]


@pytest.mark.parametrize("first", [[0], [0, 1], []])
def test_bodies_go_with_what_is_acknowledged(
    broker: RedisBroker, client: Any, made: Settings, first: list[int]
) -> None:
    """All of a lease at once, or those that are left of it, and some of it twice."""
    put(broker, LARGE + b"1", b"2", LARGE + b"3")
    leased = broker.lease(3, 0.0)
    settlements = [Settlement(one.receipt) for one in leased]
    broker.settle([settlements[index] for index in first])
    broker.settle(settlements)

    assert stored(client, made) == []
    assert broker.size().leased == 0


def test_a_body_stays_whose_message_is_retried(broker: RedisBroker, client: Any, made: Settings) -> None:
    """While that of its neighbour in the lease goes."""
    put(broker, LARGE + b"1", LARGE + b"2")
    first, second = broker.lease(2, 0.0)
    broker.settle([Settlement(first.receipt), Settlement(second.receipt, Action.RETRY, failures=1)])

    assert len(stored(client, made)) == 1
    assert taken(broker, 1) == [LARGE + b"2"]

"""How long a call lasts, how many connections there are, and whom an enqueue waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing, State, StoredResult
from qcore_redis import RedisBroker, RedisResults, RedisSettings
from qcore_testing.server_line import ServerLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def message(body: bytes, delay: float = 0.0) -> Outgoing:
    """Return a message of an id of its own."""
    return Outgoing(os.urandom(16), body, delay)


def success(body: bytes = b"body") -> StoredResult:
    """Return a result."""
    return StoredResult(os.urandom(16), State.SUCCESS, body, "a.task", None, time.time())


# -- time -----------------------------------------------------------------------------------


@pytest.fixture
def line(shared: Any) -> Iterator[ServerLine]:
    """Return a line to a server that drips."""
    made = ServerLine(shared.path)
    with made.dripping():
        yield made
    made.close()


def test_an_answer_that_drips_is_given_up_in_time(shared: Any, line: ServerLine) -> None:
    """The limit is for the whole call and does not start anew with each byte."""
    name = f"q{os.urandom(4).hex()}"
    direct = RedisResults(
        Settings(name=name, sections={"redis": RedisSettings(unix_socket_path=shared.path)})
    )
    direct.save([kept := success(bytes(1000))])
    section = RedisSettings(host="127.0.0.1", port=line.port, socket_timeout=0.5)
    store = RedisResults(Settings(name=name, sections={"redis": section}))

    since = time.monotonic()
    with pytest.raises(BackendUnavailable, match="timed out"):
        store.get([kept.id])
    # whole it would be here after a hundred seconds
    assert time.monotonic() - since < 20
    direct.close()


# -- connections ----------------------------------------------------------------------------


@pytest.fixture
def few(own: Any) -> Callable[..., Settings]:
    """Return a maker of settings with two connections for the whole process."""

    def make(**fields: Any) -> Settings:
        section = RedisSettings(unix_socket_path=own.path, max_connections=2, **fields)
        return Settings(name="few", sections={"redis": section})

    return make


def test_many_threads_share_few_connections(own: Any, few: Callable[..., Settings]) -> None:
    """However many producers there are, the server has two clients, and all are served."""
    with own.client() as client:
        before = client.info("stats")["total_connections_received"]
        brokers = [RedisBroker(few(socket_timeout=45.0)) for _ in range(50)]
        together = threading.Barrier(50)

        def enqueue(broker: RedisBroker) -> None:
            together.wait(45)
            for number in range(20):
                broker.enqueue([message(b"%d" % number)])

        with ThreadPoolExecutor(50) as threads:
            list(threads.map(enqueue, brokers))

        assert client.info("stats")["total_connections_received"] - before <= 2
        assert brokers[0].size().ready == 1000
        for broker in brokers:
            broker.close()


def test_many_that_wait_for_results_are_all_told(few: Callable[..., Settings]) -> None:
    """Whoever waits does not keep a connection from the others."""
    results = [success() for _ in range(12)]
    stores = [RedisResults(few()) for _ in results]
    writer = RedisResults(few())

    with ThreadPoolExecutor(12) as threads:
        waiting = [
            threads.submit(store.wait, one.id, 45.0) for store, one in zip(stores, results, strict=True)
        ]
        writer.save(results)
        assert [one.result(60) for one in waiting] == results
    for store in (*stores, writer):
        store.close()


def test_one_that_gets_no_connection_learns_how_to_have_more(few: Callable[..., Settings], own: Any) -> None:
    """It waits as long as a call may last, and the message names the setting."""
    waiting = [RedisBroker(few()) for _ in range(2)]
    late = RedisBroker(few(socket_timeout=0.2))
    with ThreadPoolExecutor(2) as threads, own.client() as client:
        blocked = [
            threads.submit(broker._link.block, b"BLPOP", "gate", 0, seconds=60.0) for broker in waiting
        ]
        end = time.monotonic() + 100
        while client.info("clients")["blocked_clients"] < 2:
            assert time.monotonic() < end
        with pytest.raises(BackendUnavailable, match=r"all 2 connections .*redis\.max_connections"):
            late.ping()
        client.rpush("gate", b"one", b"two")
        assert sorted(one.result(45)[1] for one in blocked) == [b"one", b"two"]
    late.ping()
    for broker in (*waiting, late):
        broker.close()


def test_a_broker_that_is_forgotten_leaves_no_connection(own: Any, few: Callable[..., Settings]) -> None:
    """Its place among the connections is free again."""
    for _ in range(10):
        RedisBroker(few(socket_timeout=0.5)).ping()
    with own.client() as client:
        assert len(client.client_list()) <= 3


# -- replicas -------------------------------------------------------------------------------


def test_an_enqueue_waits_for_replicas(start: Callable[..., Any], free_ports: tuple[int, int]) -> None:
    """What is accepted is with so many of them; if it is not, the producer learns it."""
    port = free_ports[0]
    primary = start("redis7", "--port", str(port))
    replica = start("redis7", "--replicaof", "127.0.0.1", str(port))
    url = f"redis://127.0.0.1:{port}?wait_replicas=1&wait_replicas_timeout="
    long_timeout = RedisBroker(Settings(name="q", sections={"redis": f"{url}45&socket_timeout=60"}))
    broker = RedisBroker(Settings(name="q", sections={"redis": f"{url}0.1"}))

    long_timeout.enqueue([message(b"one")])
    with replica.client() as client:
        assert client.llen("{qcore:q}:q") == 1
    long_timeout.enqueue([message(b"late", 60.0)])
    with replica.client() as client:
        assert client.zcard("{qcore:q}:d") == 1

    replica.kill(signal.SIGKILL)
    for one in (message(b"two"), message(b"later", 60.0)):
        with pytest.raises(
            BackendUnavailable, match=r"0 of 1 replicas confirmed within 0\.1 s.*may have been"
        ):
            broker.enqueue([one])
    assert (broker.size().ready, broker.size().delayed) == (2, 2)
    del primary
    long_timeout.close()
    broker.close()


# -- what others cost -----------------------------------------------------------------------


def test_a_status_costs_the_same_beside_many_clusters(shared: Any) -> None:
    """Each looked at those of all others, which is a million looks for a thousand clusters."""
    name = f"q{os.urandom(4).hex()}"
    broker = RedisBroker(Settings(name=name, sections={"redis": RedisSettings(unix_socket_path=shared.path)}))
    clusters = [f"cluster {number}" for number in range(200)]
    for one in clusters:
        broker.publish_status(one, b"status", 600.0)
    with shared.client() as server:
        before = server.info("commandstats")["cmdstat_hget"]["calls"]

        for one in clusters:
            broker.publish_status(one, b"status", 600.0)

        after = server.info("commandstats")["cmdstat_hget"]["calls"]
    # 40,000 if each looks
    assert after - before < 10_000
    assert len(broker.statuses()) == 200
    broker.close()

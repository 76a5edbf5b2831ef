"""What a forked process uses of the connections of its parent: nothing."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_redis import RedisBroker, RedisSettings
from qcore_redis.client import Client
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWNER = b"f" * 16


def connection_of(client: Client) -> str:
    """Return the number that the server has given to the connection of a client."""
    return str(client.call(b"CLIENT", b"ID"))


@pytest.fixture
def section(shared: Any) -> RedisSettings:
    """Return a server to which a process has two connections at most."""
    return RedisSettings(unix_socket_path=shared.path, max_connections=2)


@pytest.fixture
def broker(section: RedisSettings) -> Iterator[RedisBroker]:
    """Yield a broker that is made before a fork."""
    settings = Settings(name=f"forks-{os.urandom(4).hex()}", sections={"redis": section})
    with closing(RedisBroker(settings)) as made:
        yield made


def test_it_takes_no_idle_connection_of_its_parent(section: RedisSettings, broker: RedisBroker) -> None:
    """A module may ask for something when it is imported, and be done with that connection."""
    imported = Client(section, b"imported")
    ours = connection_of(imported)
    broker.ping()
    broker.after_fork(OWNER)

    def child(send: Callable[[str], None]) -> None:
        broker.after_fork(OWNER)
        broker.ping()
        with closing(Client(section, b"another")) as another:
            send(connection_of(another))

    with Child(child) as process:
        assert process.line() != ours
    imported.close()


def test_it_waits_for_no_thread_of_its_parent(broker: RedisBroker) -> None:
    """One that held a lock during the fork is not there to release it."""
    broker.after_fork(OWNER)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with broker._link._pool._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    held.wait()

    def child(send: Callable[[str], None]) -> None:
        broker.after_fork(OWNER)
        broker.ping()
        send("it is there")

    with Child(child, timeout=10) as process:
        assert process.line() == "it is there"
    over.set()
    thread.join()

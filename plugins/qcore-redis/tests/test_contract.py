"""Broker and stores keep to qcore's interfaces on every server, with the least rights."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.interfaces import Settings
from qcore_redis import RedisBroker, RedisResults, RedisSchedules, RedisSettings
from qcore_redis.coordination import make_coordination
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)

from .conftest import KINDS
from .least_rights import allow, allow_also

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from qcore.coordination import CoordinationStore
    from qcore_testing.contract import Outage

    from .conftest import Server

#: what the keys of the queue begin with
P: Final = b"{qcore:kit}:"

#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS)
def any_server(
    request: pytest.FixtureRequest, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """Return a server, of each kind in turn, that knows its users when it is started again."""
    users = tmp_path_factory.mktemp("redis") / "users.acl"
    users.touch()
    return start(request.param, "--aclfile", str(users))


class _Fresh:
    """A server that is empty at the start of each test, and lets us do no more than the page names."""

    @pytest.fixture
    def settings(self, any_server: Server, request: pytest.FixtureRequest) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""
        with any_server.client() as client:
            client.flushall()
        # nobody need wait for a frozen server as long as users do
        timeout = 2.0 if "freeze_server" in request.fixturenames else None
        login = allow(any_server, "kit")
        section = RedisSettings(unix_socket_path=any_server.path, socket_timeout=timeout, **login)

        def made(name: str = "kit", **fields: Any) -> Settings:
            if name != "kit":
                allow_also(any_server, name)
            return Settings(name=name, sections={"redis": section}, **fields)

        return made

    @pytest.fixture
    def client(self, any_server: Server) -> Iterator[redis.Redis]:
        """Yield a client that writes past the plugin."""
        with any_server.client() as client:
            yield client

    @pytest.fixture
    def restart_server(self, any_server: Server) -> Outage:
        """Return what kills the server for a while."""

        @contextlib.contextmanager
        def away() -> Iterator[None]:
            with any_server.client() as client:
                client.acl_save()
            with any_server.away():
                yield

        return away

    @pytest.fixture
    def freeze_server(self, any_server: Server) -> Outage:
        """Return what stops the server for a while."""
        found: Outage = any_server.frozen
        return found


class TestRedisBroker(_Fresh, BrokerContract):
    """RedisBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: RedisBroker(settings(**fields))

    @pytest.fixture
    def put_raw(self, client: redis.Redis) -> Callable[[bytes], object]:
        """Return a function that pushes bytes on the list of the queue."""
        return lambda body: client.rpush(P + b"q", body)


class TestRedisResults(_Fresh, ResultStoreContract):
    """RedisResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: RedisResults(settings(**fields))

    @pytest.fixture
    def put_junk(self, client: redis.Redis) -> Callable[[bytes, str], None]:
        """Return a function that writes bytes where results are kept, and names them in every index."""

        def put(id_: bytes, group: str) -> None:
            for name, value in ((id_, b"1junk"), (b"short", b"\xff" * 40), (b"", b"")):
                client.hset(P + b"r", name, value)
                for index in (b"f", b"y", b"e", b"g:" + group.encode()):
                    client.zadd(P + index, {name: 1.0})
                client.rpush(P + b"s", name)

        return put


class TestRedisExchange(_Fresh, CommitContract):
    """Broker and store of one queue keep their order."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisResults(settings(**fields)))


class TestRedisCoordination(_Fresh, CoordinationStoreContract):
    """RedisCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., CoordinationStore]:
        """Return a maker of stores of the same state."""
        return lambda **fields: make_coordination(settings(**fields))

    @pytest.fixture
    def put_junk(self, client: redis.Redis) -> Callable[[str], None]:
        """Return a function that writes what is of another kind, no number or infinity, under every key."""
        turn = itertools.count()

        def put(key: str) -> None:
            name = key.encode()
            client.rpush(P + b"m:" + name, b"a list")
            if next(turn) % 2:
                client.zadd(P + b"p:" + name, {b"": "inf", b"holder": "inf"})
                client.zadd(P + b"po:" + name, {b"": "inf", b"other": "-inf"})
                client.set(P + b"v:" + name, b"nan")
                client.zadd(P + b"vh:" + name, {b"holder": "inf", b"": "-inf"})
                client.set(P + b"z:" + name, b"no hash")
                return
            client.set(P + b"p:" + name, b"no set")
            client.hset(P + b"po:" + name, b"a", b"hash")
            client.set(P + b"v:" + name, b"no number")
            client.set(P + b"vh:" + name, b"no set")
            client.hset(P + b"z:" + name, b"no number", b"x")

        return put


class TestRedisSchedules(_Fresh, ScheduleStoreContract):
    """RedisSchedules keeps to Scheduler."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: RedisSchedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, client: redis.Redis) -> Callable[[str], None]:
        """Return a function that writes bytes under a name, and names it as due."""

        def put(name: str) -> None:
            for field, value in ((name.encode(), b"junk"), (b"\xff", b"\0" * 12), (b"", b"")):
                client.hset(P + b"c", field, value)
                client.zadd(P + b"cz", {field: 1.0})

        return put


class TestRedisFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisSchedules(settings(**fields)))

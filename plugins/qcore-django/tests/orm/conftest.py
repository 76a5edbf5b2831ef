"""Databases of a site: SQLite, PostgreSQL 18 and MariaDB, which the tests of qcore-sql know to start."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from django.db import connections

from qcore_django.orm.creation import CreateTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: what the site says of an SQLite file that its processes write at the same time
SQLITE_OPTIONS = {"init_command": "PRAGMA journal_mode = WAL", "transaction_mode": "IMMEDIATE"}

pymysql.install_as_MySQLdb()


def _servers() -> Any:
    path = Path(__file__).parents[3] / "qcore-sql" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("qcore_sql_servers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SERVERS = _servers()
postgresql18, mariadb, namespace = _SERVERS.postgresql18, _SERVERS.mariadb, _SERVERS.namespace


class Files:
    """SQLite; a namespace is a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lent(self) -> Iterator[str]:
        """Lend a name; the file is made when it is opened."""
        yield "test"


@pytest.fixture
def sqlite(tmp_path: Path) -> Files:
    """Return a folder of databases."""
    return Files(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql18", pytest.param("mariadb", marks=pytest.mark.further)])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of database."""
    return request.getfixturevalue(request.param)


def described(server: Any, namespace: str) -> dict[str, Any]:
    """Return an entry of DATABASES."""
    if isinstance(server, Files):
        name = str(server.folder / f"{namespace}.db")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": dict(SQLITE_OPTIONS)}
    if hasattr(server, "data"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "qcore",
            "HOST": str(server.folder),
            "OPTIONS": {"options": f"-csearch_path={namespace}"},
        }
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": namespace,
        "USER": "root",
        "HOST": str(server.folder / "socket"),
        "OPTIONS": {"ssl_disabled": True},
    }


@contextlib.contextmanager
def added(entry: dict[str, Any]) -> Iterator[str]:
    """Add a database to the site for the time of a block; return its alias."""
    alias = f"kit_{uuid.uuid4().hex[:8]}"
    connections.settings[alias] = {**connections.settings["default"], **entry}
    connections.settings[alias].setdefault("OPTIONS", {})
    try:
        yield alias
    finally:
        for one in connections.all(initialized_only=True):
            if one.alias == alias:
                one.close()
                del connections[alias]
        del connections.settings[alias]


def create_tables(alias: str) -> None:
    """Do what the migration does."""
    with connections[alias].schema_editor() as editor:
        CreateTables().database_forwards("qcore_django", editor, Any, Any)  # type: ignore[arg-type]  # unused
    # as in a thread that has not asked Django for anything
    connections[alias].close()


@pytest.fixture(scope="session")
def file_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with the tables, to be copied."""
    files = Files(tmp_path_factory.mktemp("orm"))
    with added(described(files, "empty")) as alias:
        create_tables(alias)
    return files.folder / "empty.db"


@pytest.fixture
def alias(server: Any, namespace: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the alias of a database with the tables."""
    entry = described(server, namespace)
    with added(entry) as alias:
        if isinstance(server, Files):
            shutil.copy(request.getfixturevalue("file_with_tables"), entry["NAME"])
        else:
            create_tables(alias)
        yield alias


@pytest.fixture
def look(alias: str) -> Callable[..., list[Any]]:
    """Return a function that executes SQL where this test's tables are, without the plugin."""

    def look(text: str, *values: Any) -> list[Any]:
        made = connections.create_connection(alias)
        try:
            with made.cursor() as cursor:
                cursor.execute(text, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            made.close()

    return look

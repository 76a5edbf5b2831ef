"""Decides which database the settings name."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import attrs
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from qcore.errors import BackendRejected
from qcore_sql.settings import SqlSettings

if TYPE_CHECKING:
    from sqlalchemy import URL, Dialect

    from qcore.interfaces import Settings
    from qcore_sql.backend import Backend

_POSTGRESQL: Final = ("qcore_sql.postgresql", "PostgreSql")
_MARIADB: Final = ("qcore_sql.mariadb", "MariaDb")
_SQLITE: Final = ("qcore_sql.sqlite", "Sqlite")
#: the first part of a URL -> dialect of SQLAlchemy, and where the backend is
_KINDS: Final = {
    "postgresql": ("postgresql+psycopg", _POSTGRESQL),
    "postgres": ("postgresql+psycopg", _POSTGRESQL),
    "postgresql+psycopg": ("postgresql+psycopg", _POSTGRESQL),
    "mariadb": ("mysql+pymysql", _MARIADB),
    "mariadb+pymysql": ("mysql+pymysql", _MARIADB),
    "mysql": ("mysql+pymysql", _MARIADB),
    "mysql+pymysql": ("mysql+pymysql", _MARIADB),
    "sqlite": ("sqlite+pysqlite", _SQLITE),
    "sqlite+pysqlite": ("sqlite+pysqlite", _SQLITE),
}
#: several servers, as libpq writes them: what is before them, they, path, and query. User and password end
#: where SQLAlchemy has them end, and are never taken for servers.
_SEVERAL: Final = re.compile(
    r"([a-z+]+://(?:[^:/@]*(?::[^@]*)?@)?+)([^/?#@]+,[^/?#@]*)((?:/[^?#]*)?)(?:\?(.*))?", re.DOTALL
)
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"
#: shows neither the URL nor the error of SQLAlchemy, which may contain the password
_UNREADABLE: Final = (
    f"`sql.url` is not a URL; write {_EXAMPLE}, with special characters in user and password percent-encoded"
)


@attrs.frozen(kw_only=True)
class Address:
    """A database, and how to connect to it."""

    backend: Backend = attrs.field(repr=False)
    dialect: Dialect = attrs.field(repr=False)
    #: parameters of the driver's `connect`
    keywords: dict[str, Any] = attrs.field(repr=False)
    #: server and database for messages, without credentials
    title: str
    settings: SqlSettings

    @property
    def key(self) -> str:
        """Return a text that is equal for addresses that can share connections."""
        return repr((sorted(self.keywords.items()), self.settings.timeout, self.settings.pool_size))


def find(settings: Settings) -> Address:
    """Return the address that the settings describe.

    Raises:
        BackendRejected: it is not the URL of a database that is supported.
    """
    section = settings.section("sql")
    if isinstance(section, str):
        section = SqlSettings(url=section)
    if section is None or not section.url:
        raise BackendRejected(f"`sql` is not set; set it to the URL of a database, {_EXAMPLE}")
    url, made, backend = _parse(section)
    if made.name == "sqlite":
        return _of_file(url, made, backend, section)
    keywords = _keywords(url, made)
    keywords = {"connect_timeout": max(1, round(section.connect_timeout)), **keywords, **section.options}
    keywords.pop("client_flag", None)
    servers = url.query.get("host", "")
    if isinstance(servers, tuple):
        servers = ",".join(servers)
        # of a primary and its standbys the one that can be written, whichever that is now
        keywords.setdefault("target_session_attrs", "read-write")
    server = url.host or servers or str(url.query.get("unix_socket", "")) or "localhost"
    port = f":{url.port}" if url.port else ""
    return Address(
        backend=backend,
        dialect=made,
        keywords=keywords,
        title=f"{server}{port}/{url.database or ''}"[:150],
        settings=section,
    )


def _keywords(url: URL, made: Dialect) -> dict[str, Any]:
    try:
        return dict(made.create_connect_args(url)[1])
    except (ArgumentError, ValueError):
        raise BackendRejected(_UNREADABLE) from None


def _of_file(url: URL, made: Dialect, backend: Backend, section: SqlSettings) -> Address:
    if not url.database or url.database == ":memory:":
        raise BackendRejected(
            "`sql.url` names no file; write sqlite:///relative/path or sqlite:////absolute/path"
        )
    path = str(Path(url.database).absolute())
    keywords = {"database": path, **section.options}
    return Address(backend=backend, dialect=made, keywords=keywords, title=path[-150:], settings=section)


def _parse(section: SqlSettings) -> tuple[URL, Dialect, Backend]:
    try:
        url = make_url(_with_servers_apart(section.url))
    except (ArgumentError, ValueError):
        raise BackendRejected(_UNREADABLE) from None
    kind = _KINDS.get(url.drivername)
    if kind is None:
        raise BackendRejected(
            f"`sql.url` begins with {url.drivername!r}, which is not supported;"
            f" choose from {', '.join(sorted(_KINDS))}"
        )
    if "@" in (url.host or ""):
        # a part of a password
        raise BackendRejected(_UNREADABLE)
    name, (module, backend) = kind
    if isinstance(url.query.get("host"), tuple) and not name.startswith("postgresql"):
        raise BackendRejected(
            "`sql.url` names several servers, which only PostgreSQL can; name one, or a proxy"
        )
    given: Backend = getattr(import_module(module), backend)()
    # SQLAlchemy does not know of the other server before it connects
    is_mariadb = url.drivername.startswith("mariadb")
    url = url.set(drivername=name)
    kind_of_dialect: Any = url.get_dialect()
    made = kind_of_dialect(paramstyle="named" if name.startswith("sqlite") else "pyformat")
    if is_mariadb:
        made.is_mariadb = True
    return url if section.password is None else url.set(password=section.password), made, given


def _with_servers_apart(url: str) -> str:
    """Return a URL that names each of several servers as a parameter, which is how SQLAlchemy takes them."""
    found = _SEVERAL.fullmatch(url)
    if found is None:
        return url
    before, servers, path, query = found.groups()
    named = [f"host={quote(one, safe=':')}" for one in servers.split(",")]
    return f"{before}{path}?{'&'.join([*named, query] if query else named)}"

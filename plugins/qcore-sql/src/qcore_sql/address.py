"""Decides which database the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from qcore.errors import BackendRejected
from qcore_sql.settings import SqlSettings

if TYPE_CHECKING:
    from sqlalchemy import URL, Dialect

    from qcore.interfaces import Settings

#: what the first part of a URL stands for
_DRIVERS: Final = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"


@attrs.frozen(kw_only=True)
class Address:
    """A database, and how to connect to it."""

    dialect: Dialect = attrs.field(repr=False)
    #: parameters of the driver's `connect`
    keywords: dict[str, Any] = attrs.field(repr=False)
    #: server and database for messages, without credentials
    title: str
    settings: SqlSettings

    @property
    def key(self) -> str:
        """Return a text that is equal for addresses that can share connections."""
        return repr((sorted(self.keywords.items()), self.settings.timeout))


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
    url = _parse(section)
    dialect = url.get_dialect()()
    _, keywords = dialect.create_connect_args(url)
    keywords = {
        "connect_timeout": max(1, round(section.connect_timeout)),
        "application_name": "qcore",
        **keywords,
        **section.options,
    }
    server = url.host or str(url.query.get("host", "")) or "localhost"
    port = f":{url.port}" if url.port else ""
    return Address(
        dialect=dialect,
        keywords=keywords,
        title=f"{server}{port}/{url.database or ''}"[:150],
        settings=section,
    )


def _parse(section: SqlSettings) -> URL:
    # the text may contain the password, so no message shows it
    try:
        url = make_url(section.url)
    except (ArgumentError, ValueError):
        raise BackendRejected(
            f"`sql.url` is not a URL; write {_EXAMPLE}, with special characters in user and password"
            " percent-encoded"
        ) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise BackendRejected(
            f"`sql.url` begins with {url.drivername!r}, which is not supported;"
            f" choose from {', '.join(sorted(_DRIVERS))}"
        )
    try:
        url = url.set(drivername=driver)
        url.get_dialect()
    except NoSuchModuleError as exc:
        raise BackendRejected(f"`sql.url`: {exc}") from exc
    return url if section.password is None else url.set(password=section.password)

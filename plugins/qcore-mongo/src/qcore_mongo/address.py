"""Decides which server and database the settings name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import attrs

from qcore_mongo.settings import MongoSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings

#: the database if neither `mongo_db` nor the URI names one
DATABASE: Final = "qcore"
#: milliseconds a call may take; waits in the server are shorter
_REQUEST: Final = 15_000
#: milliseconds to open a connection
_CONNECTION: Final = 5_000
#: milliseconds to find the primary of a replica set; an election takes up to 12 seconds
_ELECTION: Final = 15_000
#: milliseconds to find a standalone server
_STANDALONE: Final = 5_000
_URI: Final = re.compile(r"mongodb(\+srv)?://", re.IGNORECASE)
_SERVER: Final = r"(\[[^\]]*\]|[^:,\[\]]*)(:\d{1,5})?"
_SERVERS: Final = re.compile(f"{_SERVER}(,{_SERVER})*")


@attrs.frozen(kw_only=True)
class Address:
    """A database of a server or a replica set."""

    #: the parameters of MongoClient
    keywords: dict[str, Any] = attrs.field(repr=False)
    database: str
    #: servers and database for messages, without credentials
    title: str
    #: whether the configuration names a replica set, which has change streams and transactions
    replicated: bool
    #: seconds a call may take, see `qcore_plugin_support.call_limit`
    timeout: float

    @property
    def key(self) -> str:
        """Return a text that is equal for addresses that can share one client."""
        return repr(sorted(self.keywords.items()))


def find(settings: Settings) -> Address:
    """Return the address that the settings describe."""
    section = settings.section("mongo")
    if isinstance(section, str):
        section = MongoSettings(host=section)
    keywords = (section or MongoSettings()).keywords()
    hosts: Sequence[str] = _hosts(keywords)
    all_hosts = " ".join(hosts)
    names = {name.lower() for name in keywords} | {
        name.lower() for name in re.findall(r"[?&](\w+)=", all_hosts)
    }
    timeout = _timeout(keywords, all_hosts)
    replicated = "replicaset" in names or all_hosts.lower().startswith("mongodb+srv:")
    for name, value in (
        ("socketTimeoutMS", round(timeout * 1000)),
        ("connectTimeoutMS", _CONNECTION),
        ("serverSelectionTimeoutMS", _ELECTION if replicated else _STANDALONE),
        ("appname", "qcore"),
    ):
        if name.lower() not in names:
            keywords[name] = value
    database = settings.section("mongo_db") or _database(hosts) or DATABASE
    return Address(
        keywords={**keywords, "host": list(hosts)},
        database=database,
        title=f"{_title(hosts, keywords.get('port', 27017))}/{database}",
        replicated=replicated,
        timeout=timeout,
    )


def _hosts(keywords: dict[str, Any]) -> Sequence[str]:
    host = keywords.get("host", "localhost")
    return [host] if isinstance(host, str) else [str(one) for one in host]


def _timeout(keywords: dict[str, Any], uri: str) -> float:
    """Return the seconds after which a request is given up; 0 of the user's counts as nothing."""
    for key in ("timeoutMS", "socketTimeoutMS"):
        in_uri = re.search(rf"[?&]{key}=(\d+)", uri, re.IGNORECASE)
        if milliseconds := float(keywords.get(key) or (in_uri[1] if in_uri else 0)):
            return milliseconds / 1000
    return _REQUEST / 1000


def _split(host: str) -> tuple[str, str]:
    """Return the servers of a URI and the path after them; a possible password is left out."""
    # an option may contain any character, including `@` and `/`
    front, _, options = _URI.sub("", host).partition("?")
    servers, slash, path = front.rpartition("@")[2].partition("/")
    if "@" in options and not (_SERVERS.fullmatch(servers) and (slash or "@" in front)):
        # not options but a password that contains `?`, which the driver refuses
        servers, _, path = options.partition("?")[0].rpartition("@")[2].partition("/")
    return servers, path


def _database(hosts: Sequence[str]) -> str:
    """Return the database that a URI names, "" if none does."""
    # the name of a collection may follow it
    found = (unquote(_split(host)[1]).partition(".")[0] for host in hosts if _URI.match(host))
    return next(filter(None, found), "")


def _title(hosts: Sequence[str], port: int) -> str:
    named = []
    for host in hosts:
        servers, _ = _split(host)
        bare = not _URI.match(host) and ":" not in servers.rpartition("]")[2]
        named.append(f"{servers}:{port}" if bare else servers)
    return ",".join(named)[:150]

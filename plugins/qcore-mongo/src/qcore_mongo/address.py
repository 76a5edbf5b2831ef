"""The keys `mongo` and `mongo_db` into a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import attrs

from qcore_mongo.settings import MongoSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings

#: database of a queue where neither `mongo_db` nor the URI names one
DATABASE: Final = "qcore"
#: milliseconds for an answer; a wait in the server is shorter
_ANSWER: Final = 15_000
#: milliseconds for a connection
_CONNECTION: Final = 5_000
#: milliseconds a primary is looked for where others may be elected, which takes up to 12 seconds
_ELECTION: Final = 15_000
#: milliseconds a server alone is looked for
_ALONE: Final = 5_000
_URI: Final = re.compile(r"mongodb(\+srv)?://", re.IGNORECASE)
_SERVER: Final = r"(\[[^\]]*\]|[^:,\[\]]*)(:\d{1,5})?"
_SERVERS: Final = re.compile(f"{_SERVER}(,{_SERVER})*")


@attrs.frozen(kw_only=True)
class Address:
    """A database of a server or of a replica set, described without its password."""

    #: what MongoClient is told
    keywords: dict[str, Any] = attrs.field(repr=False)
    database: str
    #: what is told to people
    title: str
    #: whether the configuration names a replica set: change streams and transactions are there
    replicated: bool
    #: seconds an answer may take
    timeout: float

    @property
    def key(self) -> str:
        """Return what is the same for all that may share one client."""
        return repr(sorted(self.keywords.items()))


def find(settings: Settings) -> Address:
    """Return the place that the configuration describes."""
    section = settings.section("mongo")
    if isinstance(section, str):
        section = MongoSettings(host=section)
    told = (section or MongoSettings()).keywords()
    hosts: Sequence[str] = _hosts(told)
    whole = " ".join(hosts)
    names = {name.lower() for name in told} | {name.lower() for name in re.findall(r"[?&](\w+)=", whole)}
    replicated = "replicaset" in names or whole.lower().startswith("mongodb+srv:")
    for name, value in (
        ("socketTimeoutMS", _ANSWER),
        ("connectTimeoutMS", _CONNECTION),
        ("serverSelectionTimeoutMS", _ELECTION if replicated else _ALONE),
        ("appname", "qcore"),
    ):
        if name.lower() not in names:
            told[name] = value
    database = settings.section("mongo_db") or _database(hosts) or DATABASE
    return Address(
        keywords={**told, "host": list(hosts)},
        database=database,
        title=f"{_title(hosts, told.get('port', 27017))}/{database}",
        replicated=replicated,
        timeout=_timeout(told, whole),
    )


def _hosts(told: dict[str, Any]) -> Sequence[str]:
    host = told.get("host", "localhost")
    return [host] if isinstance(host, str) else [str(one) for one in host]


def _timeout(told: dict[str, Any], uri: str) -> float:
    """Return the seconds after which the client gives an answer up, as far as they are known here."""
    in_uri = re.search(r"[?&]sockettimeoutms=(\d+)", uri, re.IGNORECASE)
    milliseconds = float(told.get("socketTimeoutMS") or (in_uri[1] if in_uri else _ANSWER))
    # 0 is without end
    return (milliseconds or _ANSWER) / 1000


def _split(host: str) -> tuple[str, str]:
    """Return the servers of a URI and what stands behind them; what might be a password is left out."""
    # an option may hold any character, `@` and `/` too
    front, _, options = _URI.sub("", host).partition("?")
    servers, slash, path = front.rpartition("@")[2].partition("/")
    if "@" in options and not (_SERVERS.fullmatch(servers) and (slash or "@" in front)):
        # no options but a password with a `?` in it, which the driver refuses
        servers, _, path = options.partition("?")[0].rpartition("@")[2].partition("/")
    return servers, path


def _database(hosts: Sequence[str]) -> str:
    """Return the database that a URI names, empty if none does."""
    # a collection may stand behind it
    found = (unquote(_split(host)[1]).partition(".")[0] for host in hosts if _URI.match(host))
    return next(filter(None, found), "")


def _title(hosts: Sequence[str], port: int) -> str:
    named = []
    for host in hosts:
        servers, _ = _split(host)
        bare = not _URI.match(host) and ":" not in servers.rpartition("]")[2]
        named.append(f"{servers}:{port}" if bare else servers)
    return ",".join(named)[:150]

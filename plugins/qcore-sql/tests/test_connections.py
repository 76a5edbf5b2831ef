"""How many connections a process and a cluster hold, and which servers they lead to."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_sql import SqlBroker, SqlSettings
from qcore_sql.address import find
from qcore_sql.database import Database
from qcore_sql.pool import Pool

from .interrupted import everywhere

if TYPE_CHECKING:
    from collections.abc import Callable

#: seconds any one condition is given
TIMEOUT = 100.0


def settings(url: str, **fields: Any) -> Settings:
    """Return settings of one queue."""
    return Settings(name="q", sections={"sql": SqlSettings(url=url, **fields)})


def named(url: str, name: str) -> str:
    """Return a URL of which each connection bears a name."""
    return f"{url}&application_name={name}"


def test_threads_share_as_many_connections_as_there_may_be(
    url: str, namespace: str, look: Callable[..., list[Any]]
) -> None:
    """`sql.pool_size` is the most that a process holds, however many threads enqueue."""
    broker = SqlBroker(settings(named(url, namespace), pool_size=2))

    def enqueue() -> None:
        for _ in range(20):
            broker.enqueue([Outgoing(bytes(16), b"body")])

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(TIMEOUT)

    assert broker.size().ready == 160
    # none is closed before the broker is
    held = look("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", namespace)
    assert held in ([(1,)], [(2,)])
    broker.close()


def test_who_waits_for_a_connection_for_too_long_is_told(sqlite: Any) -> None:
    """The message names the setting; a connection that is released goes to who waits for longest."""
    address = find(settings(sqlite.url("q"), pool_size=1, timeout=0.01))
    patient = find(settings(sqlite.url("q"), pool_size=1, timeout=TIMEOUT))
    pool = Pool(address.backend)
    pool.enter(address, user := object())
    first = pool.take(address)

    with pytest.raises(
        BackendUnavailable, match=r"no connection of this process .* raise `sql.pool_size` \(1\)"
    ):
        pool.take(address)

    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(pool.take(patient)))
    thread.start()
    pool.put(first)
    thread.join(TIMEOUT)
    assert [one.connection for one in taken] == [first.connection]
    pool.put(taken.pop())
    pool.leave(user)


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("waits", [False, True])
def test_a_signal_amid_a_call_costs_no_connection(sqlite: Any, *, waits: bool) -> None:
    """Wherever its handler raises, the next call gets a connection, and finds no transaction open."""
    address = find(settings(sqlite.url("q"), pool_size=1, timeout=0.001))
    database = Database(settings(sqlite.url("q")), address)
    assert database.name()

    def write() -> None:
        database.write(lambda session: session.cursor.execute("UPDATE qcore_schema SET version = version"))

    def wait() -> None:
        with database._session(), contextlib.suppress(BackendUnavailable):
            write()

    times = 0
    for times in everywhere(wait if waits else write, ("pool.py", "database.py", "contextlib.py")):
        with database._session() as session:
            assert not session.cursor.connection.in_transaction, times
    database.close()
    # what was lost is freed here: from Python 3.13 on, SQLite warns in whichever test that happens
    gc.collect()

    assert times > 30


@pytest.mark.early
@pytest.mark.chaos
def test_a_cluster_holds_as_many_connections_as_the_page_says(server: Any, url: str, namespace: str) -> None:
    """Two for each worker, and at most `pool_size` for the supervisor."""
    values: dict[str, Any] = {
        "name": "q",
        "workers": 2,
        "log_level": "CRITICAL",
        "secret_key": "the key of these tests, not of anybody else",
    }
    ours = Config.from_dict({**values, "sql": {"url": url}})
    theirs = Config.from_dict({**values, "sql": {"url": named(url, namespace), "pool_size": 1}})
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    seen = set()
    with contextlib.closing(App(ours)) as app, server.connect() as connection, Cluster(theirs).start():
        jobs = [app.enqueue("math.sqrt", number * number) for number in range(100)]
        end = time.monotonic() + TIMEOUT
        done = False
        # an idle worker has a connection that is notified, so all of them are there at last; none is too many
        while not (done and 5 in seen) and time.monotonic() < end:
            seen.add(connection.execute(query, [namespace]).fetchone()[0])
            done = done or None not in app.results.fetch_many([job.id for job in jobs])
            threading.Event().wait(0.01)
        assert [job.result(wait=TIMEOUT) for job in jobs] == [float(number) for number in range(100)]

    assert max(seen) == 5


@pytest.mark.parametrize(
    ("url", "title", "keywords"),
    [
        (
            "postgresql://u:p%40ss@a:1,b:2/d?sslmode=require",
            "a:1,b:2/d",
            {"host": "a,b", "port": "1,2", "password": "p@ss", "sslmode": "require"},
        ),
        ("postgresql://a,b/d", "a,b/d", {"host": "a,b", "target_session_attrs": "read-write"}),
        # it need not be encoded, and is none of the servers
        ("postgresql://u:p,ss@a:1/d", "a:1/d", {"host": "a", "port": 1, "password": "p,ss"}),
        ("postgresql://u,v:p,/ss@a,b/d", "a,b/d", {"host": "a,b", "user": "u,v", "password": "p,/ss"}),
        (
            "postgresql://a,b/d?target_session_attrs=any",
            "a,b/d",
            {"host": "a,b", "target_session_attrs": "any"},
        ),
        ("postgresql:///d?host=/one&host=/two", "/one,/two/d", {"host": "/one,/two"}),
        ("postgresql://a:1/d", "a:1/d", {"host": "a", "port": 1}),
    ],
)
def test_several_servers_are_one_address(url: str, title: str, keywords: dict[str, Any]) -> None:
    """A primary and its standbys are named at once, and the one that can be written is connected to."""
    address = find(settings(url))

    assert address.title == title
    assert keywords.items() <= address.keywords.items()
    assert ("target_session_attrs" in address.keywords) == ("," in title)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@secret@h/d",
        "postgresql://u:p@secret,s@h/d",
        "postgresql://u:p,secret/d",
        "postgresql://h/d?port=secret",
        "postgresql://u:secret",
    ],
)
def test_no_message_about_a_url_shows_a_part_of_its_password(url: str) -> None:
    """Nor does the error of a library that has caused it, whose text may have the password."""
    with pytest.raises(BackendRejected, match=r"`sql\.url` is not a URL") as caught:
        find(settings(url))

    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_several_servers_of_mariadb_are_refused() -> None:
    """Its driver takes one."""
    with pytest.raises(BackendRejected, match="names several servers, which only PostgreSQL can"):
        find(settings("mariadb://a:1,b:2/d"))


def test_the_next_server_is_connected_to(server: Any, namespace: str) -> None:
    """A server that is gone is skipped."""
    url = server.url(namespace).replace("?host=", "?host=/nowhere&host=")
    with contextlib.closing(SqlBroker(settings(url))) as broker:
        broker.enqueue([Outgoing(bytes(16), b"body")])
        assert broker.size().ready == 1
        with psycopg.connect(server.url(namespace)) as driver:
            broker.enqueue_on(driver, [Outgoing(bytes(16), b"body")])
        assert broker.size().ready == 2

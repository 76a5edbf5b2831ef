"""What databases do to a queue: each gives one clear error or none, and nothing is lost."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement
from qcore_sql import SqlBroker, SqlSettings
from qcore_sql.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: seconds any one condition is given
TIMEOUT = 100.0
POSTGRESQL = {
    "full": "RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'",
    "conflict": "IF nextval('attempts') < 3 THEN RAISE EXCEPTION 'again' USING ERRCODE = '%s'; END IF",
}
MARIADB = {
    "full": "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'no space left'",
    "conflict": "SET @n = IFNULL(@n, 0) + 1;"
    " IF @n < 3 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %s, MESSAGE_TEXT = 'again'; END IF",
}


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of server."""
    return request.getfixturevalue(request.param)


def message(body: bytes = b"body") -> list[Outgoing]:
    """Return one message."""
    return [Outgoing(bytes(16), body)]


@pytest.fixture
def make() -> Iterator[Callable[..., SqlBroker]]:
    """Return a maker of brokers, each with connections of its own."""
    with contextlib.ExitStack() as stack:
        # what differs is not shared
        timeouts = iter(range(20, 100))

        def make(url: str, owner: bytes = b"", **fields: Any) -> SqlBroker:
            fields = {"timeout": float(next(timeouts)), **fields}
            settings = Settings(name="q", owner=owner, sections={"sql": SqlSettings(url=url, **fields)})
            return stack.enter_context(contextlib.closing(SqlBroker(settings)))

        yield make


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture
def user(server: Any, namespace: str, url: str, look: Callable[..., list[Any]], make: Any) -> Iterator[str]:
    """Return a URL of a user without special rights; what is to be undone is undone."""
    make(url).ping()
    if hasattr(server, "data"):
        look(f"CREATE ROLE {namespace} LOGIN")
        look(f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
        look(f"GRANT ALL ON ALL TABLES IN SCHEMA {namespace} TO {namespace}")
    else:
        # connections are counted from here on
        look(f"CREATE USER {namespace}@localhost WITH MAX_USER_CONNECTIONS 9")
        look(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {namespace}.* TO {namespace}@localhost")
    yield server.url(namespace, namespace)
    if not hasattr(server, "data"):
        look(f"DROP USER {namespace}@localhost")


def is_postgresql(url: str) -> bool:
    """Return whether a URL names a server of PostgreSQL."""
    return url.startswith("postgresql")


def connections(look: Callable[..., list[Any]], user: str) -> list[int]:
    """Return the numbers that a server gives to the connections of a user."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE usename = %s"
        if is_postgresql(user)
        else "SELECT id FROM information_schema.processlist WHERE user = %s"
    )
    return [row[0] for row in look(query, user.partition("//")[2].partition("@")[0])]


def have_fail(look: Callable[..., list[Any]], url: str, kind: str, code: str = "") -> None:
    """Have the server fail when a message is inserted."""
    if is_postgresql(url):
        look("CREATE SEQUENCE IF NOT EXISTS attempts")
        body = POSTGRESQL[kind].replace("%s", code)
        look(
            f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$"
        )
        look("CREATE TRIGGER fail BEFORE INSERT ON qcore_message FOR EACH ROW EXECUTE FUNCTION fail()")
    else:
        body = MARIADB[kind].replace("%s", code)
        look(f"CREATE TRIGGER fail BEFORE INSERT ON qcore_message FOR EACH ROW BEGIN {body}; END")


def test_an_open_transaction_holds_up_nobody(
    make: Callable[..., SqlBroker], url: str, server: Any, namespace: str
) -> None:
    """Leases, acknowledgements, releases and a purge go on, of more messages than the table has rows left."""
    owner = b"1234"
    broker = make(url, owner=owner, timeout=1.0)
    broker.enqueue(message() * 12)
    with contextlib.closing(server.connect(namespace)) as caller:
        caller.cursor().execute("BEGIN")
        broker.enqueue_on(caller, message())

        leased = broker.lease(9, 0.0)
        broker.settle([Settlement(one.receipt) for one in leased[:7]])
        broker.extend([leased[7].receipt], 60.0)
        assert broker.release_owner(owner) == 2
        assert broker.remove_messages([b"an unknown id..."]) == []
        assert broker.purge() == 5
        assert broker.release_owner(owner) == 0
        caller.cursor().execute("COMMIT")
    assert broker.purge() == 1


def test_a_connection_that_the_server_has_ended_is_replaced(
    make: Callable[..., SqlBroker], user: str, look: Callable[..., list[Any]]
) -> None:
    """Who has been idle for long notices nothing."""
    broker = make(user)
    broker.enqueue(message())
    (number,) = connections(look, user)
    look(f"SELECT pg_terminate_backend({number})" if is_postgresql(user) else f"KILL {number}")
    until(lambda: not connections(look, user), "the end of the connection")

    broker.enqueue(message())

    assert broker.size().ready == 2


def test_a_server_that_is_read_only_is_left_for_the_next(
    make: Callable[..., SqlBroker], user: str, look: Callable[..., list[Any]], namespace: str
) -> None:
    """The error says so, and the first call after a switch works by a new connection."""
    broker = make(user)
    broker.ping()
    if is_postgresql(user):
        on, off = (f"ALTER ROLE {namespace} {end}" for end in (
            "SET default_transaction_read_only = on", "RESET default_transaction_read_only"))  # fmt: skip
    else:
        on, off = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    look(on)
    try:
        # a setting of a role is that of its new connections
        switched = make(user)
        for call in (lambda: switched.enqueue(message()), lambda: switched.lease(1, 0.0)):
            with pytest.raises(BackendUnavailable, match=r"it is read-only: a (standby|replica)"):
                call()
        assert switched.size().ready == 0
        with pytest.raises(BackendRejected, match="is read-only"):
            check(Settings(name="q", sections={"sql": user}))
    finally:
        look(off)

    switched.enqueue(message())

    assert broker.size().ready == 1


def test_a_server_without_connections_says_so(
    make: Callable[..., SqlBroker], user: str, look: Callable[..., list[Any]], namespace: str
) -> None:
    """The error names the limit, and nothing but a connection is needed to go on."""
    first, second = make(user), make(user)
    first.ping()
    if is_postgresql(user):
        look(f"ALTER ROLE {namespace} CONNECTION LIMIT 1")
    else:
        look(f"ALTER USER {namespace}@localhost WITH MAX_USER_CONNECTIONS 1")

    with pytest.raises(BackendUnavailable, match="no connections left"):
        second.enqueue(message())
    first.enqueue(message())
    first.close()

    until(lambda: not connections(look, user), "the end of the connection")
    second.enqueue(message())
    assert second.size().ready == 2


def test_a_full_disk_loses_nothing(
    make: Callable[..., SqlBroker], url: str, look: Callable[..., list[Any]]
) -> None:
    """The error says so; what is there can be read, leased and acknowledged."""
    broker = make(url)
    broker.enqueue(message())
    have_fail(look, url, "full")
    try:
        with pytest.raises(BackendUnavailable, match=r"its disk is full \(no space left\)"):
            broker.enqueue(message(b"lost"))
        (leased,) = broker.lease(10, 0.0)
        broker.settle([Settlement(leased.receipt)])
    finally:
        look("DROP TRIGGER fail" + (" ON qcore_message" if is_postgresql(url) else ""))

    broker.enqueue(message(b"next"))
    assert [one.body for one in broker.lease(10, 0.0)] == [b"next"]


@pytest.mark.parametrize("code", [("40001", "1213"), ("40P01", "1205")], ids=["first", "second"])
def test_a_conflict_is_repeated(
    make: Callable[..., SqlBroker], url: str, look: Callable[..., list[Any]], code: tuple[str, str]
) -> None:
    """Serialization failures, deadlocks and locks that were waited for are not seen by who enqueues."""
    broker = make(url)
    broker.ping()
    have_fail(look, url, "conflict", code[not is_postgresql(url)])
    try:
        broker.enqueue(message())
        broker.enqueue([Outgoing(bytes(16), b"later", 60.0), *message()])
    finally:
        look("DROP TRIGGER fail" + (" ON qcore_message" if is_postgresql(url) else ""))

    size = broker.size()
    assert (size.ready, size.delayed) == (2, 1)

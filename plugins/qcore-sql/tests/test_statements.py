"""Statements need no connection of ours; a lease reads an index; hostile rows stop nobody."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from qcore.errors import BackendError, BackendRejected
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_sql import (
    SqlBroker,
    SqlCoordination,
    SqlResults,
    SqlSchedules,
    SqlSettings,
    claims,
    messages,
    notify,
    streams,
)
from qcore_sql.address import find
from qcore_sql.compiled import Texts
from qcore_sql.session import Session
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: a long queue; the planner decides by the number of messages
FILL = """INSERT INTO qcore_message (queue, due, token, body)
    SELECT 'q', %s + number, %s, 'body' FROM generate_series(1, 100000) AS new (number)"""
#: statements of a worker, their parameters and the index that each reads
INDEXED = {
    "ACK": ({"old_token": 7, "seqs": [1, 2, 3]}, "qcore_message_pkey"),
    "HELD": ({"old_token": 7, "old_seq": 1}, "qcore_message_pkey"),
    "EXTEND": ({"old_token": 7, "seqs": [1, 2], "seconds": 60.0}, "qcore_message_pkey"),
    "RETRY": (
        {"old_token": 7, "old_seq": 1, "delay": 0.0, "failures": 0, "crashes": 0},
        "qcore_message_pkey",
    ),
}
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-postgresql.md"


@pytest.fixture
def settings(url: str) -> Settings:
    """Return settings of one queue."""
    return Settings(name="q", retry=60.0, sections={"sql": url})


@pytest.fixture
def broker(settings: Settings) -> Iterator[SqlBroker]:
    """Return a broker."""
    with contextlib.closing(SqlBroker(settings)) as broker:
        yield broker


def test_statements_run_on_a_connection_of_another_library(
    broker: SqlBroker, settings: Settings, url: str
) -> None:
    """A cursor is enough; messages are as lasting as the transaction of its connection."""
    broker.ping()
    texts = Texts(find(settings).dialect)
    with psycopg.connect(url) as other:
        session = Session(other.cursor(), texts)  # type: ignore[arg-type]  # as a library's own cursor is
        notify.put_and_notify(session, "q", [Outgoing(bytes(16), b"gone")])
        other.rollback()
        notify.put_and_notify(session, "q", [Outgoing(bytes(16), b"kept")])
        assert broker.lease(1, 0.0) == ()
        other.commit()

        (leased,) = claims.Claims("q", 1, 60.0).take(session, 10)
        other.rollback()

    assert leased.body == b"kept"
    assert [one.body for one in broker.lease(10, 0.0)] == [b"kept"]


def test_an_open_transaction_holds_up_nobody(
    broker: SqlBroker, settings: Settings, server: Any, namespace: str
) -> None:
    """Rows that a caller's transaction has locked, or has not committed, are skipped."""
    broker.enqueue([Outgoing(os.urandom(16), b"%d" % number) for number in range(3)])
    texts = Texts(find(settings).dialect)
    with server.connect(namespace) as other:
        other.execute("BEGIN")
        session = Session(other.cursor(), texts)
        messages.put(session, "q", [Outgoing(bytes(16), b"not yet")])
        (held,) = claims.Claims("q", 1, 60.0).take(session, 1)

        found = broker.lease(10, 0.0)
        broker.settle([Settlement(one.receipt) for one in found])

        assert {one.body for one in (held, *found)} == {b"0", b"1", b"2"}
        other.execute("ROLLBACK")
    assert [one.body for one in broker.lease(10, 0.0)] == [held.body]


@pytest.mark.parametrize("others", ["ready", "leased"])
def test_a_lease_reads_as_many_rows_as_it_takes(
    broker: SqlBroker, settings: Settings, server: Any, namespace: str, others: str
) -> None:
    """However long the queue is, and however much of it is leased or delayed, an index is read."""
    broker.ping()
    look = server.connect(namespace)
    look.execute(FILL, (0.0, None) if others == "ready" else (4e9, 7))
    look.execute("ANALYZE qcore_message")
    texts = Texts(find(settings).dialect)
    text, constants, *_ = texts.of(claims.CLAIM)
    values = {**constants, "queue": "q", "limit": 10, "new_token": 1, "seconds": 60.0}

    rows = look.execute("EXPLAIN (ANALYZE) " + text, values).fetchall()
    look.close()
    plan = "\n".join(row[0] for row in rows)

    assert "Seq Scan" not in plan, plan
    assert "Index Scan using qcore_message_due" in plan or "Index Only Scan using qcore_message_due" in plan
    assert "Sort" not in plan, plan
    assert "Rows Removed" not in plan, plan


@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
@pytest.mark.parametrize("others", ["ready", "leased"])
def test_the_page_shows_the_plan_of_a_lease(
    broker: SqlBroker, settings: Settings, server: Any, namespace: str, others: str
) -> None:
    """What the page shows is the plan that the server chooses, with statistics of a long queue."""
    broker.ping()
    with server.connect(namespace) as look:
        look.execute(FILL, (0.0, None) if others == "ready" else (4e9, 7))
        look.execute("ANALYZE qcore_message")
        text, constants, *_ = Texts(find(settings).dialect).of(claims.CLAIM)
        values = {**constants, "queue": "q", "limit": 10, "new_token": 1, "seconds": 60.0}
        plan = [row[0] for row in look.execute(f"EXPLAIN (COSTS OFF) {text}", values)]

    shown = PAGE.read_text(encoding="utf-8").partition("## A long queue")[2].partition("```text\n")[2]
    assert shown.partition("```")[0].splitlines() == plan


def test_no_statement_of_a_worker_reads_the_whole_queue(
    broker: SqlBroker, settings: Settings, server: Any, namespace: str
) -> None:
    """Each finds its rows by an index, as the server plans it: nobody forbids it to read the table."""
    broker.ping()
    texts = Texts(find(settings).dialect)
    with server.connect(namespace) as look:
        look.execute(FILL, (4e9, 7))
        look.execute("ANALYZE qcore_message")
        for name, (values, index) in INDEXED.items():
            text, constants, *_ = texts.of(getattr(messages, name))
            ((plan,),) = look.execute(f"EXPLAIN (FORMAT JSON) {text}", {**constants, **values}).fetchall()

            nodes = list(_nodes(plan[0]["Plan"]))
            assert {one.get("Index Name") for one in nodes} - {None} == {index}, (name, plan)
            assert not [one for one in nodes if one["Node Type"] in {"Seq Scan", "Sort"}], (name, plan)


def test_what_a_lease_asks_beside_messages_reads_ends_of_an_index(
    broker: SqlBroker, settings: Settings, server: Any, namespace: str
) -> None:
    """How long the queue is does not matter for the streams there are, and the time of the next message."""
    broker.ping()
    texts = Texts(find(settings).dialect)
    with server.connect(namespace) as look:
        look.execute(FILL, (0.0, None))
        look.execute("ANALYZE qcore_message")
        for statement in (claims.NEXT, streams.ALL):
            text, constants, *_ = texts.of(statement)
            ((plan,),) = look.execute(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", {**constants, "queue": "q"}
            ).fetchall()

            read = [one for one in _nodes(plan[0]["Plan"]) if one.get("Relation Name") == "qcore_message"]
            assert {one.get("Index Name") for one in read} == {"qcore_message_due"}, plan
            assert all(one["Actual Rows"] <= 1 for one in read), plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


@pytest.mark.parametrize("others", ["ready", "leased"])
def test_a_lease_of_mariadb_reads_an_index(mariadb: Any, others: str) -> None:
    """However much of the queue is leased or delayed, nothing is sorted and little is read."""
    mariadb.create(f"plan_{others}")
    settings = Settings(name="q", sections={"sql": mariadb.url(f"plan_{others}")})
    with contextlib.closing(SqlBroker(settings)) as broker:
        broker.ping()
    text, constants, *_ = Texts(find(settings).dialect).of(claims.CHOOSE)
    due, token = (0.0, None) if others == "ready" else (4e9, 7)
    with mariadb.connect(f"plan_{others}") as look, look.cursor() as cursor:
        cursor.execute(
            """INSERT INTO qcore_message (queue, due, token, body)
            SELECT 'q', %s + seq, %s, 'body' FROM seq_1_to_20000""",
            (due, token),
        )
        cursor.execute("ANALYZE " + text, {**constants, "queue": "q", "limit": 10})
        names = [column[0] for column in cursor.description]
        plan, *beside = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())

    assert plan["key"] == "qcore_message_due", plan
    assert "filesort" not in plan["Extra"], plan
    assert float(plan["r_rows"] or 0) <= 10, plan
    assert all(float(one["r_rows"] or 0) <= 1 for one in beside), beside


def test_streams_of_mariadb_are_found_by_steps(mariadb: Any) -> None:
    """Of each stream one entry of the index is read, however many messages it has."""
    mariadb.create("plan_of_streams")
    settings = Settings(name="q", sections={"sql": mariadb.url("plan_of_streams")})
    with contextlib.closing(SqlBroker(settings)) as broker:
        broker.ping()
    texts = Texts(find(settings).dialect)
    text, constants, *_ = texts.of(streams.STEP)
    with mariadb.connect("plan_of_streams") as look, look.cursor() as cursor:
        cursor.execute(
            """INSERT INTO qcore_message (queue, task_queue, priority, due, body)
            SELECT 'q', IF(seq % 2, '', 'mail'), CAST(seq % 3 AS SIGNED) - 1, seq, 'body'
            FROM seq_1_to_20000"""
        )
        found = streams.all_streams(Session(cursor, texts), "q")
        values = {**constants, "queue": "q", "task_queue": "", "priority": 1}
        cursor.execute(f"ANALYZE {text}", values)
        names = [column[0] for column in cursor.description]
        plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    expected = {(queue, priority) for queue in ("", "mail") for priority in (-1, 0, 1)}
    assert sorted(one.stream for one in found) == sorted(expected)
    assert all(one.wait < 0 and not one.paused for one in found)
    assert all(float(one["r_rows"] or 0) <= 1 and "filesort" not in one["Extra"] for one in plan), plan


@pytest.mark.parametrize("others", ["ready", "leased"])
def test_a_lease_of_sqlite_reads_an_index(sqlite: Any, others: str) -> None:
    """Nothing is sorted, and only the ready messages of the queue are looked at."""
    settings = Settings(name="q", sections={"sql": sqlite.url("plan")})
    text, constants, *_ = Texts(find(settings).dialect).of(claims.CHOOSE)
    with contextlib.closing(SqlBroker(settings)) as broker:
        broker.ping()
    with contextlib.closing(sqlite3.connect(find(settings).keywords["database"])) as look:
        look.execute(
            """WITH RECURSIVE new (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM new LIMIT 20000)
            INSERT INTO qcore_message (queue, due, token, body) SELECT 'q', ? + number, ?, 'body' FROM new""",
            (0.0, None) if others == "ready" else (4e9, 7),
        )
        look.execute("ANALYZE")
        values = {**constants, "queue": "q", "limit": 10}
        plan = [row[3] for row in look.execute("EXPLAIN QUERY PLAN " + text, values)]

    searched, *beside = plan
    assert searched.endswith("INDEX qcore_message_due (queue=? AND task_queue=? AND priority=? AND due<?)")
    assert not [one for one in beside if one.startswith("SCAN") or "TEMP B-TREE" in one], plan


#: rows that anybody who reaches the database may write
HOSTILE = """
INSERT INTO qcore_message (queue, due, deliveries, failures, body)
    VALUES ('q', '-Infinity', 2147483647, -5, ''), ('q', 0, -2147483648, 0, 'x');
INSERT INTO qcore_message (queue, due, body) VALUES ('q', 'NaN', 'never'), ('q', 'Infinity', 'never');
INSERT INTO qcore_message (queue, due, token, body) VALUES ('q', -1, -9223372036854775808, 'leased');
INSERT INTO qcore_dead_letter (queue, died, failures, crashes, reason, body)
    VALUES ('q', 'NaN', -1, 2147483647, '', '');
INSERT INTO qcore_result (queue, id, state, finished, expires, name, body)
    VALUES ('q', '', 77, 'NaN', 'Infinity', '', ''), ('q', 'long', 3, '-Infinity', 0, 'n', '');
INSERT INTO qcore_schedule (queue, name, next_run, active, claimed_until, body)
    VALUES ('q', '', 'NaN', true, 'NaN', ''), ('q', 'x', '-Infinity', true, '-Infinity', '');
INSERT INTO qcore_permit (queue, item, holder, number, expires)
    VALUES ('q', 'lock', 'x', 9223372036854775807, 'NaN'), ('q', 'lock', 'y', 9223372036854775807, 9e9);
INSERT INTO qcore_rate (queue, item, due, expires) VALUES ('q', 'rate', 'NaN', 'NaN');
INSERT INTO qcore_rate_slot (queue, item, holder, due, expires)
    VALUES ('q', 'rate', 'me', 'Infinity', 'NaN');
INSERT INTO qcore_ended (queue, bucket, ended, number, high, ids)
    VALUES ('q', '', 'NaN', -1, 'zzz', 'odd');
INSERT INTO qcore_barrier VALUES ('q', 'b', 'NaN');
INSERT INTO qcore_barrier_member VALUES ('q', 'b', -1, '');
INSERT INTO qcore_status VALUES ('q', 'c', 'Infinity', 'garbage');
"""


def test_hostile_rows_stop_nobody(
    broker: SqlBroker, settings: Settings, look: Callable[..., list[Any]]
) -> None:
    """Values at the edge of what a column holds are read, leased and settled like any others."""
    broker.ping()
    look(HOSTILE)
    broker.enqueue([Outgoing(bytes(16), b"good")])

    leased = broker.lease(10, 0.0)
    assert {b"good", b"x", b"", b"leased"} == {one.body for one in leased}
    assert all(1 <= one.deliveries < 2**31 and one.failures >= 0 for one in leased)
    broker.settle([Settlement(one.receipt, Action.RELEASE) for one in leased])
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER) for one in broker.lease(10, 0.0)])
    assert len(broker.dead_letters()) == 5
    broker.lease(1, 0.01)
    broker.ended([bytes(16)])
    results, schedules, shared = SqlResults(settings), SqlSchedules(settings), SqlCoordination(settings)
    assert [one.name for one in results.recent()] == ["n"]
    assert results.prune(0) == 1
    assert len(schedules.all()) == 2
    assert [one.name for one in schedules.claim_due(1.0, 10, 60.0)] == ["x"]
    assert shared.acquire("lock", b"me", 2, 60.0) is None
    assert shared.reserve("rate", b"me", 1.0, 1) == 0.0
    assert list(shared.barrier_members("b")) == [-1]
    shared.prune()
    for part in (results, schedules, shared):
        part.close()


@pytest.mark.early
@pytest.mark.chaos
def test_tasks_run_beside_garbage(url: str, look: Callable[..., list[Any]]) -> None:
    """A cluster runs good tasks beside bytes that nobody signed."""

    def put() -> int:
        look("INSERT INTO qcore_message (queue, due, body) VALUES ('beside', 0, ''), ('beside', 0, 'Qc')")
        return 2

    with contextlib.closing(SqlBroker(Settings(name="beside", sections={"sql": url}))) as broker:
        broker.ping()
        check_tasks_run_beside_garbage({"name": "beside", "sql": url}, put)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url at all, s3cret", "`sql.url` is not a URL; write postgresql://"),
        ("oracle://u:s3cret@h/d", "begins with 'oracle', which is not supported; choose from mariadb, "),
        ("postgresql://u:s3cret@127.0.0.1:1/d", "postgresql at 127.0.0.1:1/d: it does not answer"),
        ("mariadb://u:s3cret@127.0.0.1:1/d", "mariadb at 127.0.0.1:1/d: it does not answer"),
        ("sqlite://", "`sql.url` names no file; write sqlite:///relative/path or"),
        ("sqlite:////nowhere/at/all.db", "sqlite at /nowhere/at/all.db: it cannot be opened"),
    ],
)
def test_a_wrong_url_is_reported_without_its_password(url: str, said: str) -> None:
    """Each message says what to do, and shows no password."""
    with pytest.raises(BackendError) as caught:
        SqlBroker(Settings(name="q", sections={"sql": SqlSettings(url=url)})).ping()

    assert said in str(caught.value)
    assert "s3cret" not in repr(caught.value)
    if "does not answer" in said:
        assert "; start it, or correct `sql.url`" in str(caught.value)


def test_a_closed_broker_says_so(broker: SqlBroker) -> None:
    """A broker that is used after `close` raises an error that says so."""
    broker.close()

    with pytest.raises(BackendRejected, match="was closed; make a new one"):
        broker.ping()

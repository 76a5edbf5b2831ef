"""Whatever somebody writes into the tables, no call raises and good messages come."""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.coordination import BarrierMember
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult, StoredSchedule
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules, SqlSettings
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage
from qcore_testing.store_writer import check_a_writer_without_a_key_changes_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

ID: Final = bytes(range(16))
NOW: Final = time.time()
MOST: Final = 2**31 - 1

times = st.sampled_from([NOW, NOW - 1, NOW + 1000, 0.0, -1.0, 1e300, -1e300, math.nan, math.inf, -math.inf])
small = st.sampled_from([0, 1, 2, 3, 5, -1, MOST, -MOST - 1]) | st.integers(-MOST - 1, MOST)
large = st.sampled_from([0, 1, 2**40, -1, 2**63 - 1, -(2**63)])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
some = st.binary(max_size=20)
names = st.sampled_from(["", "mail"]) | texts
keys = st.sampled_from(["limit", "rate", "flow", "flag"]) | texts
holders = st.sampled_from([b"holder", b""]) | some
#: table -> what its columns may hold
TABLES: Final[dict[str, dict[str, st.SearchStrategy[Any]]]] = {
    "message": {
        "task_queue": names,
        "priority": small,
        "due": times,
        "token": st.none() | large,
        "deliveries": small,
        "failures": small,
        "crashes": small,
        "body": some,
    },
    "dead_letter": {
        "task_queue": names,
        "priority": small,
        "died": times,
        "failures": small,
        "crashes": small,
        "reason": texts,
        "body": some,
    },
    "result": {
        "id": st.just(ID) | st.binary(max_size=16),
        "state": st.sampled_from([1, 2, 3]) | small,
        "finished": times,
        "expires": times,
        "name": texts,
        "grp": st.none() | st.just("group") | texts,
        "label": st.none() | texts,
        "body": some,
    },
    "schedule": {
        "name": st.just("one") | texts,
        "next_run": times,
        "active": st.booleans(),
        "claimed_until": times,
        "body": some,
    },
    "status": {"cluster": texts, "expires": times, "body": some},
    "flag": {"item": keys, "expires": times, "value": some},
    "permit": {"item": keys, "holder": holders, "number": large, "expires": times},
    "rate": {"item": keys, "due": times, "expires": times},
    "rate_slot": {"item": keys, "holder": holders, "due": times, "expires": times},
    "barrier": {"item": keys, "expires": times},
    "barrier_member": {"item": keys, "member": small, "body": some},
    "ended": {
        "bucket": st.binary(max_size=16),
        "ended": times,
        "number": small,
        "high": st.binary(max_size=16),
        "ids": some | st.just(ID * 2),
    },
    "task_queue": {"task_queue": names, "paused": st.booleans()},
}


def row(table: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Return a row of a table with anything in its columns."""
    return st.fixed_dictionaries(TABLES[table]).map(lambda filled: (table, filled))


# messages more often than others: they have the most to go wrong
garbage = st.lists(st.one_of([row(table) for table in [*TABLES, *["message"] * 5]]), min_size=1, max_size=8)


def everything(made: Settings, broker: SqlBroker) -> list[Callable[[], object]]:
    """Return every call that reads what is stored."""
    store, schedules, shared = SqlResults(made), SqlSchedules(made), SqlCoordination(made)
    schedule = StoredSchedule("one", b"body", 1.0)
    failed = StoredResult(ID, State.FAILED, b"body", "a.task", "group", NOW)
    return [
        broker.size,
        lambda: [one.dead_since + one.failures + len(one.reason) for one in broker.dead_letters(10)],
        lambda: [broker.requeue([one.id]) for one in broker.dead_letters(3)],
        lambda: [broker.delete([one.id]) for one in broker.dead_letters(3)],
        lambda: [len(one) for one in broker.statuses()],
        lambda: broker.publish_status("one", b"status", 60.0),
        lambda: broker.remove_messages([ID]),
        lambda: broker.find_messages([ID]),
        broker.key_ids,
        lambda: broker.ended([ID, bytes(16), b"\xff" * 16]),
        lambda: broker.release_owner(b"owner"),
        lambda: broker.extend([one.receipt for one in broker.lease(5, 0.0)], 60.0),
        lambda: broker.settle([Settlement(one.receipt, Action.RETRY) for one in broker.lease(5, 0.0)]),
        lambda: broker.settle([Settlement(one.receipt, id=ID) for one in broker.lease(1, 0.0)]),
        lambda: [one.size.ready + len(one.oldest or b"") for one in broker.queues()],
        lambda: [len(one.body) + one.delay for one in broker.waiting(5) or ()],
        lambda: broker.waiting(5, "mail"),
        lambda: broker.move_queue("mail", "other"),
        lambda: broker.purge_queue("other"),
        broker.peek,
        lambda: store.get([ID]),
        lambda: store.wait(ID, 0.0),
        lambda: store.group("group"),
        lambda: store.recent(None, 10),
        store.counts,
        lambda: store.save([failed]),
        lambda: store.prune(1),
        lambda: store.prune(1, "group"),
        lambda: store.ungroup("group"),
        lambda: store.delete([ID]),
        schedules.all,
        lambda: schedules.get("one"),
        lambda: schedules.claim_due(NOW, 5, 60.0),
        lambda: schedules.add(schedule),
        lambda: schedules.advance(schedule, None),
        lambda: schedules.remove("one"),
        lambda: shared.get_flags(["flag", "other"]),
        lambda: shared.acquire("limit", b"another", 1, 60.0),
        lambda: shared.release([("limit", b"holder")]),
        lambda: shared.reserve("rate", b"holder", 0.001, 1),
        lambda: shared.join_barrier([BarrierMember("flow", 0, b"came")], 60.0),
        lambda: sorted(shared.barrier_members("flow").items()),
        lambda: shared.delete_barriers(["flow"]),
        shared.prune,
        *(one.close for one in (store, schedules, shared)),
    ]


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of server."""
    return request.getfixturevalue(request.param)


def fill(server: Any, namespace: str, queue: str, there: list[tuple[str, dict[str, Any]]]) -> None:
    """Insert rows past the plugin, of values that the database takes."""
    endless = server.url(namespace).startswith("postgresql")
    with contextlib.closing(server.connect(namespace)) as connection:
        cursor = connection.cursor()
        for table, fields in there:
            values = {
                name: 1e300 if isinstance(one, float) and not (endless or math.isfinite(one)) else one
                for name, one in {"queue": queue, **fields}.items()
            }
            marks = ", ".join(["%s"] * len(values))
            kind = "INSERT INTO" if endless else "INSERT IGNORE INTO"
            more = " ON CONFLICT DO NOTHING" if endless else ""
            statement = f"{kind} qcore_{table} ({', '.join(values)}) VALUES ({marks}){more}"
            cursor.execute(statement, list(values.values()))
        connection.commit()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=garbage, order=st.randoms(use_true_random=False))
@example(there=[("message", {"due": math.nan, "token": -1, "deliveries": MOST, "body": b""})], order=None)
@example(there=[("message", {"due": 0.0, "deliveries": MOST, "body": b"x"})], order=None)
@example(there=[("message", {"due": 0.0, "deliveries": -5, "failures": -1, "body": b"x"})], order=None)
def test_nothing_that_is_stored_is_an_error(
    server: Any, namespace: str, url: str, there: list[tuple[str, dict[str, Any]]], order: Any
) -> None:
    """Every call, with anything in any column: no exception, and a good message gets through."""
    queue = f"q-{uuid.uuid4().hex[:12]}"
    sections = {"sql": SqlSettings(url=url)}
    made = Settings(name=queue, sections=sections, owner=b"owner", replay_window=60.0)
    with contextlib.closing(SqlBroker(made)) as broker:
        broker.ping()
        fill(server, namespace, queue, there)
        steps = everything(made, broker)
        closing = steps[-3:]
        steps = steps[:-3]
        if order is not None:
            order.shuffle(steps)
        for step in [*steps, *closing]:
            step()
        # what anybody has paused is paused
        broker.pause_queue("", paused=False)
        good_message_comes(broker)


def good_message_comes(broker: SqlBroker) -> None:
    """Put a good message in, and dead-letter all until it comes."""
    broker.enqueue([Outgoing(bytes(16), b"good")])
    end = time.monotonic() + 45
    while time.monotonic() < end:
        leased = broker.lease(100, 0.01)
        assert all(type(one.body) is bytes for one in leased)
        assert all(0 <= count <= MOST for one in leased for count in (one.failures, one.crashes))
        assert all(1 <= one.deliveries <= MOST for one in leased)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="so") for one in leased])
        if any(one.body == b"good" for one in leased):
            letters = broker.dead_letters(10_000)
            assert len(letters) >= len(leased)
            assert all(0 <= one.dead_since < 253_402_300_800 for one in letters)
            return
    raise AssertionError("the good message did not come")


def test_a_cluster_runs_what_is_good(server: Any, namespace: str, url: str) -> None:
    """Beside rows that nobody signed: no worker ends."""
    strange = [{"due": float(number), "body": b"\xff" * number} for number in range(20)]
    strange += [{"due": 0.0, "failures": -number, "crashes": MOST, "body": b"Qc"} for number in range(20)]

    def put() -> int:
        with contextlib.closing(
            SqlBroker(Settings(name="kit", sections={"sql": SqlSettings(url=url)}))
        ) as one:
            one.ping()
        fill(server, namespace, "kit", [("message", one) for one in strange])
        return len(strange)

    check_tasks_run_beside_garbage({"name": "kit", "sql": url}, put)


def test_a_writer_without_a_key_changes_nothing(url: str) -> None:
    """What is forged or altered in the tables is refused by its seal."""
    check_a_writer_without_a_key_changes_nothing({"name": "kit", "sql": url})

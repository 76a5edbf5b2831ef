"""Whatever the file contains, no call raises an error and good messages get through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.coordination import BarrierMember
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult, StoredSchedule
from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSchedules, SqliteSettings, make_coordination
from tests.unit.sqlite_base import fill, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID: Final = bytes(range(16))
NOW: Final = time.time()

numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, 2, 3, 5, -1, 2**63 - 1, -(2**63), 2**62]),
    st.floats(allow_nan=False),
    st.sampled_from([NOW, NOW - 1, NOW + 1000, float("inf"), float("-inf"), 1e300]),
)
#: bytes that are written as a text, UTF-8 or not, are given as a list of one
values = st.one_of(
    numbers,
    st.binary(max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8).map(lambda data: [data]),
    st.sampled_from([ID, "one", "group", "limit", "rate", "flow", "flag", [b"\xff\xfe"], [b"\0"], b"holder"]),
)
rows = st.sampled_from([0, 1, 2, 3, 10, -1, 2**63 - 1, -(2**63), 2**62, 2**40])

#: table -> its columns; those in capitals take whole numbers only
TABLES: Final = {
    "queue": ("SEQ", "body"),
    "lease": ("FIRST", "last", "token", "until"),
    "gap": ("SEQ",),
    "returned": ("KEY", "at", "token", "deliveries", "failures", "crashes", "body", "queue", "priority"),
    "dead_letter": ("ID", "at", "reason", "failures", "crashes", "body", "queue", "priority"),
    "queue_state": ("name", "paused"),
    "status": ("cluster", "expires", "body"),
    "result": ("id", "state", "finished", "expires", "name", "grp", "label", "body"),
    "schedule": ("name", "body", "next_run", "active", "claimed_until"),
    "flag": ("key", "until", "value"),
    "permit": ("key", "holder", "number", "until"),
    "rate": ("key", "at", "until"),
    "rate_slot": ("key", "holder", "at"),
    "barrier": ("ID", "key", "count", "until"),
    "barrier_member": ("barrier", "member", "body"),
    "ended": ("SEQ", "bucket", "at", "upto", "high", "ids"),
    "sqlite_sequence": ("name", "seq"),
}
#: what a column may hold besides anything, so that rows are found
LIKELY: Final = {
    "name": st.sampled_from(["one", "dead_letter"]),
    "key": st.sampled_from(["limit", "rate", "flow", "flag"]),
    "grp": st.just("group"),
    "holder": st.just(b"holder"),
    "id": st.just(ID),
    "state": st.sampled_from([1, 2, 3]),
    "queue": st.sampled_from([None, "", "mail"]),
    "priority": st.sampled_from([0, 5, -5]),
}


def row(table: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Return a row of a table with anything in its columns."""
    columns = {name: rows if name.isupper() else values | LIKELY.get(name, values) for name in TABLES[table]}
    return st.fixed_dictionaries(columns).map(lambda filled: (table, filled))


garbage = st.lists(st.one_of([row(table) for table in TABLES]), min_size=1, max_size=8)


def everything(
    broker: SqliteBroker, store: SqliteResults, schedules: SqliteSchedules
) -> list[Callable[[], object]]:
    """Return every call that reads what is stored."""
    shared = make_coordination(Settings(name="test", beside=store))
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
        lambda: broker.release_owner(b"owner"),
        lambda: broker.enqueue(outgoing(b"delayed", delay=0.001)),
        lambda: broker.extend([one.receipt for one in broker.lease(5, 0.0)], 60.0),
        lambda: broker.settle(
            [Settlement(one.receipt, Action.RETRY, failures=1) for one in broker.lease(5, 0.0)]
        ),
        lambda: store.get([ID]),
        lambda: store.wait(ID, 0.0),
        lambda: store.group("group"),
        lambda: store.recent(None, 10),
        store.counts,
        lambda: store.save([failed]),
        lambda: store.prune(1),
        lambda: store.prune(1, "group"),
        lambda: store.prune(1, "label"),
        lambda: store.ungroup("group"),
        lambda: store.delete([ID]),
        schedules.all,
        lambda: schedules.get("one"),
        lambda: schedules.claim_due(NOW, 5, 60.0),
        lambda: schedules.add(schedule),
        lambda: schedules.advance(schedule, None),
        lambda: schedules.remove("one"),
        lambda: shared.set_flag("other", b"x", 60.0),
        lambda: shared.get_flags(["flag", "other"]),
        lambda: shared.acquire("limit", b"another", 1, 60.0),
        lambda: shared.release([("limit", b"holder")]),
        lambda: shared.reserve("rate", b"holder", 0.001, 1),
        lambda: shared.join_barrier([BarrierMember("flow", 0, b"came")], 60.0),
        lambda: sorted(shared.barrier_members("flow").items()),
        lambda: shared.delete_barriers(["flow"]),
        shared.prune,
        lambda: [one.size for one in broker.queues()],
        lambda: [len(one.body) + one.delay for one in broker.waiting(5) or ()],
        lambda: broker.waiting(5, "mail"),
        lambda: broker.move_queue("mail", ""),
        lambda: broker.purge_queue("mail"),
        lambda: broker.is_queue_paused("mail"),
        broker.peek,
    ]


def good_message_comes(broker: SqliteBroker) -> None:
    """Put a good message in, and dead-letter all until it comes."""
    broker.enqueue([Outgoing(bytes(16), b"good")])
    end = time.monotonic() + 45
    while time.monotonic() < end:
        leased = broker.lease(100, 0.01)
        assert all(type(one.body) is bytes for one in leased)
        assert all(0 <= count < 2**31 for one in leased for count in (one.failures, one.crashes))
        assert all(1 <= one.deliveries < 2**31 for one in leased)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="so") for one in leased])
        if any(one.body == b"good" for one in leased):
            assert len(broker.dead_letters(10_000)) >= len(leased)
            return
    raise AssertionError("the good message did not come")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder."""
    return tmp_path_factory.mktemp("garbage")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=garbage, order=st.permutations(range(44)))
@example(there=[("lease", {"FIRST": 1, "last": "zzz", "token": 1, "until": "zzz"})], order=list(range(44)))
@example(there=[("returned", {"KEY": 1, "at": "never", "body": b"x"})], order=list(range(44)))
@example(there=[("dead_letter", {"ID": 2**63 - 1, "at": 1, "reason": [b"\xff"], "failures": 0,
                                 "crashes": 0, "body": 5})], order=list(range(44)))  # fmt: skip
@example(there=[("permit", {"key": "limit", "holder": 10**12, "number": 1, "until": NOW + 1000})],
         order=list(range(44)))  # fmt: skip
def test_nothing_that_is_stored_is_an_error(
    folder: Path, there: list[tuple[str, dict[str, Any]]], order: list[int]
) -> None:
    """Every call, with anything in any column: no exception, and a good message gets through."""
    path = folder / "queue.db"
    for one in folder.iterdir():
        one.unlink()
    sections = {"sqlite": SqliteSettings(path=path)}
    made = Settings(name="test", retry=60.0, sections=sections, owner=b"owner", replay_window=60.0)
    broker, store, schedules = SqliteBroker(made), SqliteResults(made), SqliteSchedules(made)
    fill(path, there)
    steps = everything(broker, store, schedules)
    assert len(steps) == len(order)
    for number in order:
        steps[number]()
    # what anybody has paused is paused
    broker.pause_queue("", paused=False)
    good_message_comes(broker)
    for made_one in (broker, store, schedules):
        made_one.close()


def test_rows_that_hold_up_messages_are_set_aside_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that is never due becomes a dead letter with its reason."""
    path = tmp_path / "queue.db"
    broker = SqliteBroker(Settings(name="test", sections={"sqlite": SqliteSettings(path=path)}))
    fill(path, [("returned", {"KEY": 7, "at": "never", "body": b"a message"})])

    assert broker.lease(1, 0.0) == ()

    (letter,) = broker.dead_letters()
    assert letter.body == b"a message"
    assert "the time is not a number" in letter.reason
    assert "were set aside: lease=0 queue=0 returned=1" in caplog.text
    broker.close()


def test_what_is_set_aside_keeps_its_queue_and_priority(tmp_path: Path) -> None:
    """Once it is requeued it is where it was."""
    path = tmp_path / "queue.db"
    broker = SqliteBroker(Settings(name="test", sections={"sqlite": SqliteSettings(path=path)}))
    fill(path, [("returned", {"KEY": 7, "at": "never", "body": b"x", "queue": "mail", "priority": 5})])
    assert broker.lease(1, 0.0) == ()

    broker.requeue([one.id for one in broker.dead_letters()])

    assert [(one.queue, one.priority) for one in broker.waiting(1) or ()] == [("mail", 5)]
    broker.close()

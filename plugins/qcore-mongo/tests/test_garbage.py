"""Whatever the collections contain, no worker ends and good messages get through."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from bson import Int64, MaxKey, ObjectId, Timestamp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.coordination import BarrierMember
from qcore.errors import BackendError
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult, StoredSchedule
from qcore_mongo import MongoBroker, MongoCoordination, MongoResults, MongoSchedules, MongoSettings
from qcore_mongo.client import Client
from qcore_mongo.conditions import FIRST
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage
from qcore_testing.store_writer import check_a_writer_without_a_key_changes_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

ID: Final = bytes(range(16))
PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE: Final = datetime(2100, 1, 1, tzinfo=UTC)
TIMEOUT: Final = 100.0

simple = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, 2, 3, Int64(5), 2**62]),
    st.floats(),
    st.binary(max_size=20),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
    st.sampled_from([ID, PAST, FUTURE, Timestamp(1, 1), ObjectId(bytes(12)), MaxKey(), "group"]),
)
values = st.one_of(simple, st.lists(simple, max_size=3), st.dictionaries(st.sampled_from("ab"), simple))
ids = st.one_of(
    st.just(ID),
    st.binary(max_size=20),
    st.integers(0, 2**40),
    st.text("abc", max_size=4),
    st.sampled_from(["one", "flag:flag", "permits:limit", "rate:rate", "barrier:flow"]),
    st.sampled_from([f"ended:{ID.hex()}:", "ended:", "ended:zz", "queues"]),
)
#: collection -> fields that documents of ours have
FIELDS: Final = {
    "messages": "at seq body route due paused used version lease owner leases failures crashes dead reason"
    " hidden wait",
    "results": "state body name finished group label expires gone",
    "schedules": "schedule fires next claimed_until pending",
    "notes": "value until permits last holder left at run members added kept ids number",
    "statuses": "body until",
}
#: what makes documents found
LIKELY: Final = {
    "at": st.sampled_from([PAST, Timestamp(1, 1), FIRST]),
    "route": st.sampled_from(["10:mail", "0:", "1000:mail", "-7:", "5:m/il", "x"]),
    "due": st.sampled_from([PAST, FUTURE, Timestamp(1, 1)]),
    "paused": st.just(["mail", 5]),
    "seq": st.builds(ObjectId),
    "body": st.just(b"body"),
    "dead": st.just(PAST),
    "fires": st.just(True),
    "next": st.just(1.0),
    "state": st.sampled_from([1, 2, 3]),
    "group": st.just("group"),
    "until": st.just(FUTURE),
}


def document(kind: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Return a document of a collection with anything in some of its fields."""
    optional = {name: values | LIKELY.get(name, values) for name in FIELDS[kind].split()}
    made = st.fixed_dictionaries({"_id": ids}, optional=optional)
    return made.map(lambda filled: (kind, filled))


garbage = st.lists(st.one_of([document(kind) for kind in FIELDS]), min_size=1, max_size=8)


def reading(made: Settings, broker: MongoBroker) -> list[Callable[[], object]]:
    """Return every call that reads what is stored."""
    store, schedules = MongoResults(made), MongoSchedules(made)
    shared = MongoCoordination(Client(made))
    schedule = StoredSchedule("one", b"body", 1.0)
    failed = StoredResult(ID, State.FAILED, b"body", "a.task", "group", time.time())
    return [
        broker.size,
        lambda: [one.dead_since + one.failures + len(one.reason) for one in broker.dead_letters(10)],
        lambda: [broker.requeue([one.id]) for one in broker.dead_letters(3)],
        lambda: [broker.delete([one.id]) for one in broker.dead_letters(3)],
        lambda: [len(one) for one in broker.statuses()],
        lambda: broker.remove_messages([ID]),
        lambda: broker.release_owner(b"owner"),
        lambda: [one.size.ready + len(one.oldest or b"") for one in broker.queues()],
        lambda: [len(one.body) + one.delay for one in broker.waiting(5) or ()],
        lambda: broker.pause_queue("other", paused=True),
        lambda: broker.pause_queue("other", paused=False),
        lambda: broker.move_queue("mail", "other"),
        lambda: broker.purge_queue("other"),
        broker.peek,
        lambda: broker.settle([Settlement(one.receipt, Action.RETRY) for one in broker.lease(5, 0.0)]),
        # of ids that are remembered at least there is room for one
        lambda: broker.settle([Settlement(ID + bytes(12), id=ID)]),
        lambda: broker.ended([ID, bytes(16), b"\xff" * 16]),
        lambda: store.get([ID]),
        lambda: store.group("group"),
        lambda: store.recent(None, 10),
        store.counts,
        lambda: store.save([failed]),
        lambda: store.prune(1),
        lambda: store.prune(1, "group"),
        schedules.all,
        lambda: schedules.get("one"),
        lambda: schedules.claim_due(time.time(), 5, 60.0),
        lambda: schedules.add(schedule),
        lambda: schedules.advance(schedule, None),
        lambda: shared.get_flags(["flag", "other"]),
        lambda: shared.acquire("limit", b"holder", 1, 60.0),
        lambda: shared.release([("limit", b"holder")]),
        lambda: shared.reserve("rate", b"holder", 0.001, 1),
        lambda: shared.join_barrier([BarrierMember("flow", 0, b"came")], 60.0),
        lambda: sorted(shared.barrier_members("flow").items()),
        lambda: shared.delete_barriers(["flow"]),
        *(one.close for one in (store, schedules, shared)),
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=garbage)
@example(there=[("messages", {"_id": "a text", "at": PAST, "seq": 1, "body": 5, "leases": "many"})])
@example(there=[("messages", {"_id": ID, "dead": PAST}), ("results", {"_id": ID, "state": "done"})])
@example(there=[("messages", {"_id": "queues", "at": FIRST, "paused": "x", "used": 5})])
@example(there=[("messages", {"_id": ID, "route": "x", "due": PAST, "at": PAST, "seq": 5})])
@example(there=[("notes", {"_id": "permits:limit", "permits": 5, "until": FUTURE})])
@example(there=[("notes", {"_id": f"ended:{ID.hex()}:", "ids": 5, "number": "x", "at": 1, "until": FUTURE})])
def test_nothing_that_is_stored_ends_a_worker(
    replicated: Any, database: str, there: list[tuple[str, dict[str, Any]]]
) -> None:
    """Every call, with anything in any field: at most an error of the backend; a good message comes."""
    sections = {"mongo": MongoSettings(**replicated.settings), "mongo_db": database}
    made = Settings(
        name="kit", retry=60.0, sections=sections, owner=b"owner", replay_window=60.0, replay_limit=1
    )
    with replicated.client() as client:
        # emptied, because to make collections and their indexes takes longer than all else
        for name in client[database].list_collection_names():
            client[database][name].delete_many({})
        with contextlib.closing(MongoBroker(made)) as broker:
            # an index is there before: the server refuses arrays in two of its fields
            broker.size()
            for kind, filled in there:
                with contextlib.suppress(Exception):
                    client[database][f"qcore.kit.{kind}"].insert_one(filled)
            for step in reading(made, broker):
                with contextlib.suppress(BackendError):
                    step()
            good_message_comes(broker)


def good_message_comes(broker: MongoBroker) -> None:
    """Put a good message in, and dead-letter all until it comes."""
    broker.enqueue([Outgoing(os.urandom(16), b"good")])
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        leased = broker.lease(100, 0.0)
        assert all(type(one.body) is bytes for one in leased)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="so") for one in leased])
        if any(one.body == b"good" for one in leased):
            return
    raise AssertionError("the good message did not come")


def test_a_cluster_runs_what_is_good(replicated: Any, database: str) -> None:
    """Beside documents that nobody signed: no worker ends."""
    strange = [{"_id": number, "at": PAST, "body": number} for number in range(20)]
    strange += [
        {"_id": os.urandom(16), "at": PAST, "seq": ObjectId(), "body": os.urandom(50)} for _ in strange
    ]
    with replicated.client() as client:

        def put() -> int:
            client[database]["qcore.kit.messages"].insert_many(strange)
            return len(strange)

        settings = {"name": "kit", "mongo": replicated.settings, "mongo_db": database}
        check_tasks_run_beside_garbage(settings, put)
        client.drop_database(database)


def test_a_writer_without_a_key_changes_nothing(replicated: Any, database: str) -> None:
    """What is forged or altered in MongoDB is refused by its seal."""
    settings = {"name": "kit", "mongo": replicated.settings, "mongo_db": database}
    check_a_writer_without_a_key_changes_nothing(settings)
    with replicated.client() as client:
        client.drop_database(database)


def test_an_index_like_ours_may_have_another_name(replicated: Any, database: str) -> None:
    """A user who made it by hand can enqueue."""
    sections = {"mongo": MongoSettings(**replicated.settings), "mongo_db": database}
    with replicated.client() as client:
        messages = client[database]["qcore.kit.messages"]
        messages.create_index([("at", 1), ("seq", 1)], name="mine")
        messages.create_index(
            [("owner", 1)], name="also_mine", partialFilterExpression={"owner": {"$exists": True}}
        )
        with contextlib.closing(MongoBroker(Settings(name="kit", sections=sections))) as broker:
            broker.enqueue([Outgoing(os.urandom(16), b"good")])
            assert [one.body for one in broker.lease(1, 0.0)] == [b"good"]
            assert broker.lease(1, 0.1) == []
        assert {"mine", "also_mine", "qcore_dead"} <= messages.index_information().keys()
        assert "qcore_ready" not in messages.index_information()
        client.drop_database(database)


def test_an_index_that_conflicts_is_named(replicated: Any, database: str) -> None:
    """The error says that its options differ, and which it is."""
    sections = {"mongo": MongoSettings(**replicated.settings), "mongo_db": database}
    told = r"on the same fields has other options; drop it.*theirs"
    with replicated.client() as client:
        statuses = client[database]["qcore.kit.statuses"]
        statuses.create_index([("until", 1)], name="theirs", sparse=True, expireAfterSeconds=5)
        with (
            contextlib.closing(MongoBroker(Settings(name="kit", sections=sections))) as broker,
            pytest.raises(BackendError, match=told),
        ):
            broker.statuses()
        client.drop_database(database)

"""What queues and priorities are in MongoDB beyond the contract."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from bson import ObjectId, Timestamp
from pymongo.monitoring import CommandListener

from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, QueueSize, Settlement, StoredSchedule
from qcore_mongo import MongoBroker, MongoSchedules, MongoSettings, registry, routes, wakeup
from qcore_mongo.conditions import FIRST
from qcore_queues.order import QueueOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pymongo.collection import Collection
    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE: Final = datetime(2100, 1, 1, tzinfo=UTC)


class Commands(CommandListener):
    """Records what is sent about messages."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Record a command."""
        if "qcore.many.messages" in {event.command.get(event.command_name), event.command.get("collection")}:
            self.sent.append(dict(event.command))

    def names(self) -> list[str]:
        """Return the names of the commands so far, and forget them."""
        names = [next(iter(one)) for one in self.sent]
        self.sent.clear()
        return names

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


class Profile:
    """What the server notes down about its commands on messages."""

    def __init__(self, documents: Collection[dict[str, Any]]) -> None:
        self._database = documents.database
        self._filter = {"ns": documents.full_name}

    def set_level(self, level: int) -> None:
        """Note all commands down, or none."""
        self._database.command("profile", level, filter=self._filter)

    def aggregates(self) -> list[dict[str, Any]]:
        """Return the aggregations that were noted down."""
        return list(self._database["system.profile"].find({"op": "command"}))

    def close(self) -> None:
        """Note nothing down any more, and forget it."""
        self._database.command("profile", 0, filter="unset")
        self._database.drop_collection("system.profile")


@pytest.fixture
def profile(documents: Collection[dict[str, Any]]) -> Iterator[Profile]:
    """Yield the profile of one test."""
    made = Profile(documents)
    yield made
    made.close()


@pytest.fixture
def database() -> str:
    """Return the database of all tests of this process: to make collections takes longer than they do."""
    return f"queues_{os.getpid()}"


@pytest.fixture
def documents(replicated: Any, database: str) -> Iterator[Collection[dict[str, Any]]]:
    """Yield the collection of messages, empty, to look and write past the plugin."""
    with replicated.client() as client:
        yield client[database]["qcore.many.messages"]
        for name in client[database].list_collection_names(filter={"name": {"$regex": "^qcore"}}):
            client[database][name].delete_many({})


@pytest.fixture
def settings(documents: Any, replicated: Any, database: str) -> Callable[..., Settings]:
    """Return a maker of settings of one queue."""
    del documents

    def make(
        queues: Sequence[str] | None = None, heard: CommandListener | None = None, **fields: Any
    ) -> Settings:
        listeners = {} if heard is None else {"event_listeners": [heard]}
        sections = {"mongo": MongoSettings(**replicated.settings, **listeners), "mongo_db": database}
        order = None if queues is None else QueueOrder(queues)
        return Settings(name="many", sections=sections, queues=order, **fields)

    return make


@pytest.fixture
def new(settings: Callable[..., Settings]) -> Iterator[Callable[..., MongoBroker]]:
    """Yield a maker of brokers of one queue, which are closed in the end."""
    made: list[MongoBroker] = []

    def new(queues: Sequence[str] | None = None, **fields: Any) -> MongoBroker:
        made.append(MongoBroker(settings(queues, **fields)))
        return made[-1]

    yield new
    for one in made:
        one.close()


def message(body: bytes, queue: str = "", priority: int = 0, delay: float = 0.0) -> Outgoing:
    """Return a message of its own id."""
    return Outgoing(os.urandom(16), body, delay, queue, priority)


def plain(body: bytes = b"before", **fields: Any) -> dict[str, Any]:
    """Return a document as the version without queues wrote it."""
    return {"_id": os.urandom(16), "at": Timestamp(1, 1), "seq": ObjectId(), "body": body, **fields}


def scans(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stages of a plan that read an index."""
    below = [*stage.get("inputStages", ()), *([stage["inputStage"]] if "inputStage" in stage else ())]
    return [one for inner in below for one in scans(inner)] + [stage] * (stage["stage"] == "IXSCAN")


def bodies(found: Sequence[Any]) -> list[bytes]:
    """Return the bodies."""
    return [one.body for one in found]


def test_who_uses_neither_sends_and_keeps_what_it_did(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]]
) -> None:
    """Two commands lease, one ends; no document and no change has a field of queues."""
    heard = Commands()
    broker = new(heard=heard, owner=b"12345678")
    broker.size()
    heard.names()

    broker.enqueue([message(b"one"), message(b"two"), message(b"three")])
    assert {frozenset(one) for one in documents.find()} == {frozenset({"_id", "at", "seq", "body"})}
    leased = broker.lease(2, 0.0)
    broker.extend([leased[0].receipt], 60.0)
    broker.settle([Settlement(leased[0].receipt), Settlement(leased[1].receipt, Action.RELEASE)])
    broker.commit_and_lease(None, (), (), 1)

    assert not any(word in repr(heard.sent) for word in ("'due'", "$due", "route"))
    (find, *_) = [one for one in heard.sent if "find" in one]
    explained = documents.database.command(
        "explain", {name: find[name] for name in ("find", "filter", "sort", "limit", "hint")}
    )
    # what is late or was released, and what was never leased: nothing is sought beside
    (late,), (new_,) = (one["indexBounds"]["at"] for one in scans(explained["queryPlanner"]["winningPlan"]))
    assert re.fullmatch(r"\[new Date\(-1\), new Date\([0-9]+\)\]", late)
    assert new_.startswith("(Timestamp(0, 0), ")
    leases = ["find", "update"]
    assert heard.names() == ["insert", *leases, "update", *("update", "delete"), *leases]
    assert documents.find_one({"_id": registry.ID}) is None
    assert {len(one.receipt) for one in leased} == {28}


def test_messages_of_the_version_before_are_leased_and_settled(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]]
) -> None:
    """They are of the default queue and priority; leases that it took end as they would have."""
    token = os.urandom(12)
    theirs = plain(b"leased", lease=token, owner=b"owner", leases=1, version=1) | {"at": FUTURE}
    documents.insert_many([plain(b"ready"), theirs, plain(b"dead", dead=PAST, reason="so", version=2)])
    documents.update_one({"body": b"dead"}, {"$unset": {"at": 1}})
    broker = new(["default"])
    broker.enqueue([message(b"mail", "mail")])

    assert bodies(broker.lease(9, 0.0)) == [b"ready"]
    broker.settle([Settlement(theirs["_id"] + token, Action.RETRY, failures=1)])
    assert broker.requeue([one.id for one in broker.dead_letters()]) == 1
    assert sorted((one.body, one.failures) for one in broker.lease(9, 0.0)) == [(b"dead", 0), (b"leased", 1)]


@pytest.mark.parametrize("ahead", [1, 64])
def test_a_high_priority_is_next_whatever_waits(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]], profile: Profile, ahead: int
) -> None:
    """Neither what is plain nor what has a low priority is read; nor does it matter who reads ahead."""
    heard = Commands()
    broker, worker = new(), new(heard=heard)
    broker.size()
    documents.insert_many([plain() for _ in range(1500)])
    broker.enqueue([message(b"low", "mail", -5) for _ in range(500)])
    worker.lease(1, 0.0)

    for number in range(8):
        worker._claims._ahead = ahead
        broker.enqueue([message(b"urgent", "mail", 7)])
        heard.names()
        profile.set_level(2)
        assert bodies(worker.lease(1, 0.0)) == [b"urgent"]
        profile.set_level(0)
        # the first lease after a new priority has come reads it once more
        assert heard.names() == ["aggregate", *["aggregate"] * (number == 0), "update"]
    # who reads ahead steps over so many of the default queue
    assert max(one["keysExamined"] for one in profile.aggregates()) < 20 + ahead


def test_many_queues_are_read_in_their_order(new: Callable[..., MongoBroker]) -> None:
    """More than one command reads."""
    names = [f"queue-{number:03}" for number in range(120)]
    heard = Commands()
    broker, worker = new(), new(names, heard=heard)
    broker.enqueue([message(name.encode(), name) for name in names if name > "queue-100"])
    broker.enqueue([message(b"low", "low", -1) for _ in range(200)])
    broker.enqueue([message(b"later", name, delay=600.0) for name in names])

    worker.size()
    heard.names()
    assert bodies(worker.lease(50, 0.0)) == [name.encode() for name in names if name > "queue-100"]
    # the names, then those of which no more than fifty are read at once
    assert heard.names() == [*["aggregate"] * 4, "update"]
    assert worker.lease(1, 0.01) == []
    assert [one.name for one in broker.queues()] == ["", "low", *names]
    assert broker.size() == QueueSize(200, 19, 120, 0)
    low = new(["low"], heard=heard)
    low.lease(1, 0.0)
    heard.names()
    assert len(low.lease(150, 0.0)) == 150
    assert heard.names() == ["aggregate", "update"]


def test_a_registry_that_nobody_uses_is_forgotten(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while there are messages, and not soon: a producer relies on it for a minute."""
    monkeypatch.setattr(registry, "_NOTED", 0.0)
    heard = Commands()
    broker, worker = new(), new(heard=heard)
    broker.enqueue([message(b"mail", "mail", 3)])
    ago = datetime.now(UTC) - timedelta(seconds=2 * registry._UNUSED)
    old = {"$set": {"used": ago}}
    documents.update_one({"_id": registry.ID}, old)

    (leased,) = worker.lease(1, 0.0)
    assert worker.lease(1, 0.0) == []
    assert documents.count_documents({"_id": registry.ID}) == 1
    worker.settle([Settlement(leased.receipt)])
    broker.enqueue([message(b"mail", "mail", 3)])
    worker.settle([Settlement(worker.lease(1, 0.0)[0].receipt)])
    assert worker.lease(1, 0.0) == []
    assert documents.count_documents({"_id": registry.ID}) == 1

    documents.update_one({"_id": registry.ID}, old)
    broker.pause_queue("mail", paused=True)
    documents.update_one({"_id": registry.ID}, old)
    assert worker.lease(1, 0.0) == []
    assert broker.is_queue_paused("mail")
    broker.pause_queue("mail", paused=False)
    documents.update_one({"_id": registry.ID}, old)
    for _ in range(2):
        assert worker.lease(1, 0.0) == []
    assert documents.count_documents({}) == 0
    heard.names()
    assert worker.lease(1, 0.0) == []
    assert heard.names() == ["find"]


def test_a_lost_registry_is_written_again(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]]
) -> None:
    """An idle worker finds messages that no registry shows."""
    new().enqueue([message(b"mail", "mail", 3)])
    documents.delete_one({"_id": registry.ID})
    worker = new()
    assert worker.lease(1, 0.0) == []

    assert bodies(worker.lease(1, 100.0)) == [b"mail"]
    assert documents.count_documents({"_id": registry.ID}) == 1


def test_what_wakes_who_waits_for_some_queues(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes into them, comes back, is moved or resumed; not what comes into others."""
    monkeypatch.setattr(registry, "_NOTED", 10_000.0)
    broker = new()
    broker.enqueue([message(b"back", "reports")])
    (back,) = broker.lease(1, 0.0)

    def heard(queues: list[str] | None, *actions: Callable[[], object]) -> int:
        order = None if queues is None else QueueOrder(queues)
        with documents.watch([{"$match": wakeup._news(order)}], max_await_time_ms=100) as stream:
            for action in actions:
                action()
            documents.insert_one({"_id": ObjectId(), "route": "0:mail"})
            documents.insert_one({"_id": ObjectId()})
            found = 0
            while (change := stream.next()) and not isinstance(change["documentKey"]["_id"], ObjectId):
                found += 1
            return found

    def put(*route: Any) -> Callable[[], None]:
        return lambda: broker.enqueue([message(b"x", *route)])

    assert heard(["mail"], put("mail", -3), put("mail.x"), put(), put("", 5), put("ma")) == 1
    assert heard(["default", "ma.l"], put("mail"), put("", 5), put(), put("ma.l")) == 3
    assert heard(None, put("mail"), put()) == 2
    assert heard(["mail"], lambda: broker.settle([Settlement(back.receipt, Action.RELEASE)])) == 1
    assert heard(["mail"], lambda: broker.move_queue("ma.l", "mail")) == 1
    assert heard(["default"], lambda: broker.move_queue("mail.x", "")) == 1
    assert heard(["mail"], lambda: broker.pause_queue("mail", paused=True)) == 1


def test_what_was_moved_is_not_settled_by_who_held_it(new: Callable[..., MongoBroker]) -> None:
    """Its lease had ended."""
    broker, holder = new(), new(retry=0.001)
    for queue, target in (("", "old"), ("mail", "")):
        broker.enqueue([message(b"one", queue)])
        (leased,) = holder.lease(1, 100.0)
        while not broker.move_queue(queue, target):
            pass
        for action in (Action.RETRY, Action.ACK, Action.DEAD_LETTER):
            holder.settle([Settlement(leased.receipt, action)])
        assert holder.release_owner(b"12345678") == 0
        (again,) = new([target or "default"]).lease(1, 0.0)
        broker.settle([Settlement(again.receipt)])

    assert broker.size() == QueueSize(0, 0, 0, 0)


def test_a_slot_is_fired_into_its_queue(
    new: Callable[..., MongoBroker], settings: Callable[..., Settings], documents: Collection[dict[str, Any]]
) -> None:
    """Hidden messages have their route, and are counted as nothing until they are shown."""
    broker, schedules = new(), MongoSchedules(settings())
    before, after = StoredSchedule("one", b"before", 1.0), StoredSchedule("one", b"after", 2.0)
    schedules.add(before)
    sent = [message(b"mail", "mail", 5), message(b"plain"), message(b"later", "mail", -5, delay=600.0)]

    assert schedules.fire(broker, sent, before, after)

    assert documents.count_documents({"_id": registry.ID}) == 1
    found = {
        one["body"]: set(one) - {"_id", "seq", "body", "version"}
        for one in documents.find({"seq": {"$exists": True}})
    }
    assert found == {b"mail": {"route", "due"}, b"plain": {"at"}, b"later": {"route", "due"}}
    assert bodies(broker.lease(9, 0.0)) == [b"mail", b"plain"]
    schedules.close()


def test_routes_that_are_none_hold_nobody_up(
    new: Callable[..., MongoBroker], documents: Collection[dict[str, Any]]
) -> None:
    """What has one becomes a dead letter; what only looks like a registry is none."""
    broker = new(["mail", "default"])
    strange = [
        {"route": "x:y", "due": PAST, "body": b"no route"},
        {"route": "1:a b", "due": PAST, "body": b"no queue"},
        {"route": "0:mail", "due": Timestamp(1, 1), "at": PAST, "body": b"both"},
        {"at": FIRST, "body": b"first of all"},
        {"route": ["0:mail", "7:mail"], "due": PAST, "body": b"two"},
        {"route": 5, "due": PAST, "body": b"number"},
    ]
    documents.insert_many([{"_id": os.urandom(16), "seq": ObjectId(), **one} for one in strange])
    documents.insert_one({"_id": registry.ID, "at": PAST, "paused": 5})
    broker.enqueue([message(b"good", "mail", -4), message(b"plain")])

    found: list[bytes] = []
    while some := [*broker.lease(10, 0.0), *new().lease(10, 0.0)]:
        found += bodies(some)
        broker.settle([Settlement(one.receipt) for one in some])

    assert {b"good", b"plain"} <= set(found) <= {b"good", b"plain", b"two", b"first of all"}
    assert {b"no route", b"no queue", b"both"} <= set(bodies(broker.dead_letters()))


def test_names_of_routes_are_told_apart() -> None:
    """A route is found by its name, and what is not the name of one is none."""
    for queue, priority in (("mail", 10), ("", -100), ("a.b-c_D", 0)):
        made = routes.route_of(routes.name_of(queue, priority))
        assert (made.queue, made.priority) == (queue, priority) if made else made
    assert routes.name_of("", 0) == routes.DEFAULT.name
    assert not any(map(routes.route_of, ["", "mail", "x:mail", "1:m/il", "1000:mail", "1:mail\n", ":mail"]))

"""A backlog behind a rate grows in number, not in size."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bson
import pytest
from pymongo.monitoring import CommandListener

from qcore.interfaces import Settings
from qcore_mongo import MongoCoordination, MongoSettings
from qcore_mongo.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection
    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

#: seconds between rate slots, longer than any test runs
HOUR = 3600.0
#: seconds that a call may take
TIMEOUT = 100.0
STATE = {"_id": "rate:rate"}


class Between(CommandListener):
    """Calls `work` before the next change of a rate's state is sent."""

    def __init__(self) -> None:
        self.work: Callable[[], object] | None = None

    def started(self, event: CommandStartedEvent) -> None:
        """Call `work` before this command."""
        if event.command_name == "findAndModify" and self.work is not None:
            work, self.work = self.work, None
            work()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


class Rate:
    """One rate, used by two processes, and its documents."""

    def __init__(self, land: Any, database: str, kept: Collection[dict[str, Any]]) -> None:
        self.kept = kept
        self.between = Between()
        self._stores = []
        for listeners in ([self.between], []):
            section = MongoSettings(**land.settings, event_listeners=listeners)
            made = Settings(name="q", sections={"mongo": section, "mongo_db": database})
            self._stores.append(MongoCoordination(Client(made)))

    def ask(self, holder: bytes) -> float:
        """Return the seconds until the rate slot of a holder."""
        return self._stores[0].reserve("rate", holder, HOUR, 1)

    def ask_elsewhere(self, holder: bytes) -> float:
        """Return the seconds until the rate slot of a holder, asked by another process."""
        return self._stores[1].reserve("rate", holder, HOUR, 1)

    def waiting(self) -> list[dict[str, Any]]:
        """Return the documents of waiting holders in the order of their slots."""
        return sorted(self.kept.find({"_id": {"$ne": STATE["_id"]}}), key=lambda one: one["at"])

    def close(self) -> None:
        """Close everything."""
        for store in self._stores:
            store.close()


@pytest.fixture
def rate(replicated: Any, database: str, look: Callable[..., Any]) -> Iterator[Rate]:
    """Return a rate of this test's own."""
    kept = look(replicated)
    made = Rate(replicated, database, kept["qcore.q.notes"])
    yield made
    made.close()
    kept.client.drop_database(database)


def near(seconds: float, expected: float) -> bool:
    """Return whether it is this turn."""
    return expected - TIMEOUT < seconds <= expected


def test_no_document_of_a_rate_grows_with_those_who_wait(rate: Rate) -> None:
    """A server takes 16 MB a document, and writes all of it at each change."""
    rate.ask(b"now")
    rate.ask(os.urandom(16))
    size = max(len(bson.encode(one)) for one in rate.kept.find())

    for _ in range(50):
        rate.ask(os.urandom(16))

    assert max(len(bson.encode(one)) for one in rate.kept.find()) == size
    assert rate.kept.count_documents({}) == 1 + 51


def test_a_slot_expires_a_day_after_its_time_and_its_rate_later(rate: Rate) -> None:
    """The server removes expired documents by `until`, and none before."""
    rate.ask(b"now")
    waits = [rate.ask(holder) for holder in (b"one", b"two")]

    state, slots = rate.kept.find_one(STATE), rate.waiting()

    assert state is not None
    begin = slots[0]["until"] - timedelta(seconds=waits[0])
    assert near((slots[1]["until"] - begin).total_seconds(), 2 * HOUR)
    assert (slots[0]["until"].timestamp() * 1000) - slots[0]["at"] == pytest.approx(86_400_000, abs=60_000)
    assert state["until"] >= slots[1]["until"]


def test_a_slot_that_is_unused_for_a_day_is_deleted(rate: Rate) -> None:
    """A holder that asks later gets a new slot, whether or not the server has removed the old one."""
    rate.ask(b"now")
    rate.ask(b"late")
    (slot,) = rate.waiting()
    rate.ask(b"next")
    day = 86_400_000.0
    rate.kept.update_one({"_id": slot["_id"]}, {"$set": {"at": slot["at"] - day - 2 * HOUR * 1000}})

    assert near(rate.ask(b"late"), 3 * HOUR)


def test_a_slot_that_was_not_stored_is_returned_to_its_holder(rate: Rate) -> None:
    """The state names the holder of the last slot, so that no holder gets two."""
    rate.ask(b"now")
    rate.ask(b"dead")
    assert rate.kept.delete_one({"_id": rate.waiting()[0]["_id"]}).deleted_count == 1

    assert near(rate.ask_elsewhere(b"dead"), HOUR)
    assert near(rate.ask(b"next"), 2 * HOUR)


def test_a_holder_that_asks_twice_at_once_has_one_slot(rate: Rate) -> None:
    """Both calls return the same slot, although another holder asked in between."""
    rate.ask(b"now")
    waits_seen: list[float] = []
    rate.between.work = lambda: waits_seen.extend(map(rate.ask_elsewhere, (b"twice", b"another")))

    mine = rate.ask(b"twice")

    assert [near(mine, HOUR), near(waits_seen[0], HOUR), near(waits_seen[1], 2 * HOUR)] == [True] * 3
    assert len(rate.waiting()) == 2


def test_a_slot_that_has_come_is_used_once(rate: Rate) -> None:
    """Of two calls for one holder, one may start and the other waits."""
    rate.ask(b"now")
    rate.ask(b"mine")
    (slot,) = rate.waiting()
    rate.kept.update_one({"_id": slot["_id"]}, {"$set": {"at": slot["at"] - 2 * HOUR * 1000}})
    waits_seen: list[float] = []
    rate.between.work = lambda: waits_seen.append(rate.ask_elsewhere(b"mine"))

    waits_seen.append(rate.ask(b"mine"))

    assert waits_seen[0] == 0.0
    assert waits_seen[1] > 0.0

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

#: seconds between turns that no test lives to see
HOUR = 3600.0
#: seconds that a call may take
PATIENCE = 60.0
HEAD = {"_id": "turns:rate"}


class Between(CommandListener):
    """Does something before the next change of a head is sent."""

    def __init__(self) -> None:
        self.work: Callable[[], object] | None = None

    def started(self, event: CommandStartedEvent) -> None:
        """Do it before this command."""
        if event.command_name == "findAndModify" and self.work is not None:
            work, self.work = self.work, None
            work()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Take no notice."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Take no notice."""


class Rate:
    """One rate, asked by two processes, and what is noted of it."""

    def __init__(self, land: Any, database: str, kept: Collection[dict[str, Any]]) -> None:
        self.kept = kept
        self.between = Between()
        self._stores = []
        for listeners in ([self.between], []):
            told = MongoSettings(**land.settings, event_listeners=listeners)
            made = Settings(name="q", sections={"mongo": told, "mongo_db": database})
            self._stores.append(MongoCoordination(Client(made)))

    def ask(self, holder: bytes) -> float:
        """Return the seconds until a turn."""
        return self._stores[0].reserve("rate", holder, HOUR, 1)

    def ask_elsewhere(self, holder: bytes) -> float:
        """Return the seconds until a turn, as another process is told."""
        return self._stores[1].reserve("rate", holder, HOUR, 1)

    def waiting(self) -> list[dict[str, Any]]:
        """Return the documents of those who wait, by their turns."""
        return sorted(self.kept.find({"_id": {"$ne": HEAD["_id"]}}), key=lambda one: one["at"])

    def close(self) -> None:
        """Let go of everything."""
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
    return expected - PATIENCE < seconds <= expected


def test_no_document_of_a_rate_grows_with_those_who_wait(rate: Rate) -> None:
    """A server takes 16 MB a document, and writes all of it at each change."""
    rate.ask(b"now")
    rate.ask(os.urandom(16))
    size = max(len(bson.encode(one)) for one in rate.kept.find())

    for _ in range(50):
        rate.ask(os.urandom(16))

    assert max(len(bson.encode(one)) for one in rate.kept.find()) == size
    assert rate.kept.count_documents({}) == 1 + 51


def test_the_server_forgets_a_turn_a_day_after_it_and_its_rate_later(rate: Rate) -> None:
    """What has outlived its time is removed by `until`, and nothing before."""
    rate.ask(b"now")
    waits = [rate.ask(holder) for holder in (b"one", b"two")]

    head, turns = rate.kept.find_one(HEAD), rate.waiting()

    assert head is not None
    begin = turns[0]["until"] - timedelta(seconds=waits[0])
    assert near((turns[1]["until"] - begin).total_seconds(), 2 * HOUR)
    assert (turns[0]["until"].timestamp() * 1000) - turns[0]["at"] == pytest.approx(86_400_000, abs=60_000)
    assert head["until"] >= turns[1]["until"]


def test_a_turn_that_nobody_came_for_within_a_day_is_forgotten(rate: Rate) -> None:
    """Who comes later waits like everybody else, whether or not the server has removed it."""
    rate.ask(b"now")
    rate.ask(b"late")
    (turn,) = rate.waiting()
    rate.ask(b"next")
    day = 86_400_000.0
    rate.kept.update_one({"_id": turn["_id"]}, {"$set": {"at": turn["at"] - day - 2 * HOUR * 1000}})

    assert near(rate.ask(b"late"), 3 * HOUR)


def test_a_turn_is_told_again_to_who_died_before_it_was_noted(rate: Rate) -> None:
    """The head knows whose the last turn is, so that nobody has two of them."""
    rate.ask(b"now")
    rate.ask(b"dead")
    assert rate.kept.delete_one({"_id": rate.waiting()[0]["_id"]}).deleted_count == 1

    assert near(rate.ask_elsewhere(b"dead"), HOUR)
    assert near(rate.ask(b"next"), 2 * HOUR)


def test_a_holder_who_asks_twice_at_once_has_one_turn(rate: Rate) -> None:
    """Both are told of the same turn, though another has come between."""
    rate.ask(b"now")
    told: list[float] = []
    rate.between.work = lambda: told.extend(map(rate.ask_elsewhere, (b"twice", b"another")))

    mine = rate.ask(b"twice")

    assert [near(mine, HOUR), near(told[0], HOUR), near(told[1], 2 * HOUR)] == [True] * 3
    assert len(rate.waiting()) == 2


def test_a_turn_that_has_come_is_given_once(rate: Rate) -> None:
    """Of two who ask for one holder, one begins and the other waits."""
    rate.ask(b"now")
    rate.ask(b"mine")
    (turn,) = rate.waiting()
    rate.kept.update_one({"_id": turn["_id"]}, {"$set": {"at": turn["at"] - 2 * HOUR * 1000}})
    told: list[float] = []
    rate.between.work = lambda: told.append(rate.ask_elsewhere(b"mine"))

    told.append(rate.ask(b"mine"))

    assert told[0] == 0.0
    assert told[1] > 0.0


def test_a_backlog_of_an_earlier_version_keeps_its_length(rate: Rate) -> None:
    """Those who waited in one array wait anew, behind the last turn that was given."""
    rate.ask(b"now")
    rate.ask(b"one")
    head = rate.kept.find_one(HEAD)
    assert head is not None
    old = [{"holder": os.urandom(16), "at": head["last"]} for _ in range(1000)]
    rate.kept.update_one(HEAD, {"$set": {"turns": old, "held": None, "turn": head["last"]}})

    assert near(rate.ask(b"two"), 2 * HOUR)

    head = rate.kept.find_one(HEAD)
    assert head is not None
    assert len(bson.encode(head)) < 300

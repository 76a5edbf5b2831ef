"""Slots whose process died before it showed their messages."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement
from qcore_mongo import MongoBroker, MongoSettings, messages, pending
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database


class Fired:
    """A fired slot of two messages that are still hidden, as a process leaves it that dies."""

    def __init__(self, settings: Settings, database: Database[dict[str, Any]]) -> None:
        self.broker = MongoBroker(settings)
        self.schedules = database["qcore.q.schedules"]
        self.messages = database["qcore.q.messages"]
        self.ids = [os.urandom(16) for _ in range(2)]
        hidden = [Outgoing(id, b"slot") for id in self.ids]
        messages.hide(self.broker._client.collection(Kind.MESSAGES), hidden)
        self.schedules.insert_one({"_id": "nightly", "schedule": b"", "fires": False, "pending": self.ids})

    def left(self) -> int:
        """Return how many schedules have pending messages."""
        return self.schedules.count_documents({"pending": {"$exists": True}})


@pytest.fixture
def fired(replicated: Any, database: str, look: Callable[..., Any]) -> Iterator[Fired]:
    """Return a fired slot for one test."""
    told = {"mongo": MongoSettings(**replicated.settings), "mongo_db": database}
    made = Fired(Settings(name="q", retry=60.0, sections=told), look(replicated))
    yield made
    made.broker.close()
    made.messages.database.client.drop_database(database)


def test_hidden_messages_are_kept_for_weeks(fired: Fired) -> None:
    """The server removes a hidden message only after a month."""
    ends = [one["hidden"].replace(tzinfo=UTC) for one in fired.messages.find()]

    assert min(ends) > datetime.now(UTC) + timedelta(days=28)


def test_the_next_process_shows_pending_messages_without_a_warning(
    fired: Fired, caplog: pytest.LogCaptureFixture
) -> None:
    """A late slot loses no message, so nothing is logged."""
    assert len(fired.broker.lease(2, 5.0)) == 2

    assert fired.left() == 0
    assert not caplog.records


def test_missing_messages_of_a_slot_are_logged(fired: Fired, caplog: pytest.LogCaptureFixture) -> None:
    """Messages that were removed before they were shown are logged once, and the others run."""
    fired.messages.delete_one({"_id": fired.ids[0]})

    assert [one.receipt[:16] for one in fired.broker.lease(2, 5.0)] == [fired.ids[1]]
    pending.show(fired.broker._client)

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "messages of the schedule nightly that do not exist" in record.getMessage()
    assert record.getMessage().endswith(f": 1 of 2: {fired.ids[0].hex()}")
    assert fired.left() == 0


def test_a_slot_that_another_process_showed_is_not_logged(
    fired: Fired, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages may have run and been removed, which is not a loss."""
    show, other = messages.show, fired.broker

    def run_before(*args: Any) -> Any:
        monkeypatch.setattr(messages, "show", show)
        pending.show(other._client)
        other.settle([Settlement(one.receipt) for one in other.lease(2, 0.0)])
        assert fired.messages.count_documents({}) == 0
        return show(*args)

    monkeypatch.setattr(messages, "show", run_before)
    pending.show(other._client)

    assert fired.left() == 0
    assert not caplog.records

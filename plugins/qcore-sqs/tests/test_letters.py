"""Reading dead letters: how many, for how long, and when it ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.model import Action, Outgoing, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_sqs import SqsBroker

    New = Callable[..., SqsBroker]


def dead_letter(broker: SqsBroker, count: int) -> None:
    """Create dead letters."""
    broker.enqueue([Outgoing(os.urandom(16), b"%03d" % number) for number in range(count)])
    left = count
    while left:
        leased = broker.lease(10, 5.0)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="why") for one in leased])
        left -= len(leased)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that records a broker's receive requests and may change their fields."""

    def watch(broker: SqsBroker, **changes: Any) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        call = broker._queues.connection.call

        def noted(operation: str, **fields: Any) -> dict[str, Any]:
            if operation == "receive_message":
                assert len(seen) < 50, "the reading does not end"
                seen.append(fields)
                fields |= changes
            return call(operation, **fields)

        monkeypatch.setattr(broker._queues.connection, "call", noted)
        return seen

    return watch


@pytest.mark.parametrize("count", [3, 25])
def test_reading_ends_when_letters_are_received_again(
    new: New, asked: Callable[..., list[dict[str, Any]]], count: int
) -> None:
    """Reading may take longer than letters stay invisible; it ends when no new letter is received."""
    broker = new()
    dead_letter(broker, count)
    seen = asked(broker, VisibilityTimeout=0)

    letters = broker.dead_letters()
    assert {one.body for one in letters} == {b"%03d" % number for number in range(min(count, 10))}
    assert broker.delete([letters[0].id, "unknown"]) == 1

    assert len(seen) <= 6


def test_letters_stay_invisible_until_all_are_read(
    new: New, asked: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of many letters must not become visible before the last is read."""
    broker = new()
    dead_letter(broker, 1)
    seen = asked(broker)
    broker.dead_letters()
    monkeypatch.setattr(broker._queues, "attributes", lambda *_: {"ApproximateNumberOfMessages": "100000"})
    broker.dead_letters()

    assert 60 <= seen[0]["VisibilityTimeout"] <= 61
    # ten letters in one request, some requests a second
    assert 1000 <= seen[-1]["VisibilityTimeout"] <= 43_200


def test_reading_stops_when_the_wanted_letters_are_found(sqs: Any, new: New) -> None:
    """Requeuing one of many letters does not read all of them."""
    broker = new()
    dead_letter(broker, 35)
    first, *rest = broker.dead_letters()
    before = sqs.asked()["ReceiveMessage"]

    assert broker.requeue([first.id]) == 1
    assert broker.delete([first.id]) == 0

    # one to requeue; four for the remaining letters and two that find no more to delete
    assert sqs.asked()["ReceiveMessage"] - before <= 1 + 6
    assert [one.id for one in broker.dead_letters()] == [one.id for one in rest]

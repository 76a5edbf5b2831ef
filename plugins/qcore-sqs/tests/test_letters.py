"""Dead letters: how many are read, for how long, and when the reading ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.model import Action, Outgoing, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_sqs import SqsBroker

    New = Callable[..., SqsBroker]


def bury(broker: SqsBroker, count: int) -> None:
    """Make dead letters."""
    broker.enqueue([Outgoing(os.urandom(16), b"%03d" % number) for number in range(count)])
    left = count
    while left:
        leased = broker.lease(10, 5.0)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="why") for one in leased])
        left -= len(leased)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that notes a broker's receives, and may change them."""

    def watch(broker: SqsBroker, **instead: Any) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        call = broker._queues.link.call

        def noted(operation: str, **fields: Any) -> dict[str, Any]:
            if operation == "receive_message":
                assert len(seen) < 50, "the reading does not end"
                seen.append(fields)
                fields |= instead
            return call(operation, **fields)

        monkeypatch.setattr(broker._queues.link, "call", noted)
        return seen

    return watch


@pytest.mark.parametrize("count", [3, 25])
def test_letters_that_come_again_while_they_are_read_end_the_reading(
    new: New, asked: Callable[..., list[dict[str, Any]]], count: int
) -> None:
    """Reading may take longer than letters stay out of sight: what brings nothing new is the end."""
    broker = new()
    bury(broker, count)
    seen = asked(broker, VisibilityTimeout=0)

    letters = broker.dead_letters()
    assert {one.body for one in letters} == {b"%03d" % number for number in range(min(count, 10))}
    assert broker.delete([letters[0].id, "of no letter"]) == 1

    assert len(seen) <= 6


def test_letters_stay_out_of_sight_as_long_as_so_many_take(
    new: New, asked: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many the first must not come back before the last was read."""
    broker = new()
    bury(broker, 1)
    seen = asked(broker)
    broker.dead_letters()
    monkeypatch.setattr(broker._queues, "attributes", lambda *_: {"ApproximateNumberOfMessages": "100000"})
    broker.dead_letters()

    assert 60 <= seen[0]["VisibilityTimeout"] <= 61
    # ten at a time, some of them a second
    assert 1000 <= seen[-1]["VisibilityTimeout"] <= 43_200


def test_no_more_letters_are_read_than_it_takes_to_find_those_that_are_wanted(sqs: Any, new: New) -> None:
    """Whoever requeues one of many does not wait until all were read."""
    broker = new()
    bury(broker, 35)
    first, *rest = broker.dead_letters()
    before = sqs.asked()["ReceiveMessage"]

    assert broker.requeue([first.id]) == 1
    assert broker.delete([first.id]) == 0

    # four for all that are left and two that find no more, once
    assert sqs.asked()["ReceiveMessage"] - before <= 1 + 6
    assert [one.id for one in broker.dead_letters()] == [one.id for one in rest]

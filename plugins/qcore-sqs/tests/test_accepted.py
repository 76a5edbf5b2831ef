"""Sending that ends half-way: what is said of it, and what is asked again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendError, BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore.model import Action, Outgoing, Settlement
from qcore_sqs import client

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_sqs import SqsBroker

    New = Callable[..., SqsBroker]


def numbered(count: int) -> list[Outgoing]:
    """Return messages with different bodies."""
    return [Outgoing(os.urandom(16), b"%05d" % number) for number in range(count)]


def at_batch(
    broker: SqsBroker, number: int, what: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let something happen before a broker's batch of this number, the first being 1."""
    batch, seen = broker._queues.link.batch, []

    def counted(operation: str, *args: Any, **kwargs: Any) -> Any:
        if operation == "send_message_batch":
            seen.append(operation)
            if len(seen) == number:
                what()
        return batch(operation, *args, **kwargs)

    monkeypatch.setattr(broker._queues.link, "batch", counted)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"fail": {"SendMessageBatch": ["AccessDenied", 403, 1]}}, (BackendRejected, "may not do this")),
        ({"fail": {"SendMessageBatch": ["MessageTooLong", 400, 1]}}, (PayloadTooLarge, "too large")),
        ({"fail": {"SendMessageBatch": ["InternalError", 500, 1]}}, (BackendUnavailable, "of its own")),
        ({"hangup": {"SendMessageBatch": 1}}, (BackendUnavailable, "may have been accepted all the same")),
        ({"throttle": {"SendMessageBatch": 9}}, (BackendUnavailable, "left alone for a while")),
    ],
)
def test_an_error_after_a_batch_says_how_many_were_accepted(
    sqs: Any,
    new: New,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    expected: tuple[type[Exception], str],
) -> None:
    """The caller learns of it, whatever the error; its kind stays what it is."""
    monkeypatch.setattr(client, "_PATIENCE", (3, 0.01, 0.01))
    broker = new()
    at_batch(broker, 3, lambda: sqs.tell(**wrong), monkeypatch)

    sent = numbered(40)
    with pytest.raises(BackendError, match=expected[1]) as caught:
        broker.enqueue(sent)

    assert isinstance(caught.value, expected[0])
    assert str(caught.value).endswith("; 20 of 40 messages were accepted before that")
    assert [one.id for one in sent[:20]] == caught.value.accepted


def test_an_error_amid_a_batch_says_how_many_were_accepted(sqs: Any, new: New) -> None:
    """Of ten, one fails alone as well: nine were accepted."""
    broker = new()
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["InternalError", 500, 1]})

    with pytest.raises(BackendUnavailable, match=r"of its own.*; 9 of 20 messages were accepted"):
        broker.enqueue(numbered(20))

    assert broker.size().ready == 9


def test_what_can_no_more_be_asked_alone_is_counted_too(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid a batch the credentials end: what was accepted of it before is known all the same."""
    broker = new()
    ask = broker._queues.link.ask

    def refused(operation: str, **fields: Any) -> Any:
        if operation == "send_message":
            raise BackendRejected("no AWS credentials")
        return ask(operation, **fields)

    monkeypatch.setattr(broker._queues.link, "ask", refused)
    sqs.tell(partial={"SendMessageBatch": 1})

    with pytest.raises(BackendRejected, match="no AWS credentials; 8 of 10 messages were accepted"):
        broker.enqueue(numbered(10))


def test_an_error_before_anything_was_accepted_counts_nothing(sqs: Any, new: New) -> None:
    """Then none need be told apart."""
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["InternalError", 500, 1]})
    with pytest.raises(BackendUnavailable, match="of its own") as caught:
        broker.enqueue(numbered(20))
    assert "accepted" not in str(caught.value)


def test_a_service_out_of_order_is_asked_again(sqs: Any, new: New) -> None:
    """It says of itself that it did nothing, so nothing is doubled."""
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["ServiceUnavailable", 503, 1]})
    broker.enqueue(numbered(10))
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["ServiceUnavailable", 503, 1]})
    broker.enqueue(numbered(10))
    assert broker.size().ready == 20


def test_a_service_that_stays_out_of_order_is_told(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries whoever asked decides."""
    monkeypatch.setattr(client, "_PATIENCE", (3, 0.01, 0.01))
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["ServiceUnavailable", 503, 9]})
    with pytest.raises(BackendUnavailable, match="out of order"):
        broker.enqueue(numbered(1))
    assert sqs.left()["fail"]["SendMessageBatch"][2] == 6


def test_letters_requeued_half_way_are_counted_and_not_requeued_again(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were sent are dead letters no more when the error is raised."""
    broker = new()
    broker.enqueue(numbered(20))
    leased = [*broker.lease(10, 0.0), *broker.lease(10, 0.0)]
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no") for one in leased])
    ids = [letter.id for letter in broker.dead_letters()]
    wrong = {"SendMessageBatch": ["InternalError", 500, 1]}
    at_batch(broker, 2, lambda: sqs.tell(fail=wrong), monkeypatch)

    with pytest.raises(BackendUnavailable, match="; 10 of 20 letters were requeued before that"):
        broker.requeue(ids)

    assert (broker.size().ready, len(broker.dead_letters())) == (10, 10)
    assert broker.requeue(ids) == 10
    assert broker.size().ready == 20

"""Errors in the middle of sending: what they report and what is repeated."""

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
    """Call `what` before a broker's batch of this number, from 1."""
    batch, seen = broker._queues.connection.batch, []

    def counted(operation: str, *args: Any, **kwargs: Any) -> Any:
        if operation == "send_message_batch":
            seen.append(operation)
            if len(seen) == number:
                what()
        return batch(operation, *args, **kwargs)

    monkeypatch.setattr(broker._queues.connection, "batch", counted)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"fail": {"SendMessageBatch": ["AccessDenied", 403, 1]}}, (BackendRejected, "have no permission")),
        ({"fail": {"SendMessageBatch": ["MessageTooLong", 400, 1]}}, (PayloadTooLarge, "too large")),
        ({"fail": {"SendMessageBatch": ["InternalError", 500, 1]}}, (BackendUnavailable, "internal error")),
        ({"hangup": {"SendMessageBatch": 1}}, (BackendUnavailable, "may have been accepted")),
        ({"throttle": {"SendMessageBatch": 9}}, (BackendUnavailable, "throttles requests")),
    ],
)
def test_an_error_after_a_batch_says_how_many_were_accepted(
    sqs: Any,
    new: New,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    expected: tuple[type[Exception], str],
) -> None:
    """Every error says so and keeps its type."""
    monkeypatch.setattr(client, "_THROTTLE_RETRIES", (3, 0.01, 0.01))
    broker = new()
    at_batch(broker, 3, lambda: sqs.tell(**wrong), monkeypatch)

    sent = numbered(40)
    with pytest.raises(BackendError, match=expected[1]) as caught:
        broker.enqueue(sent)

    assert isinstance(caught.value, expected[0])
    assert str(caught.value).endswith("; 20 of 40 messages were accepted before that")
    assert [one.id for one in sent[:20]] == caught.value.accepted


def test_an_error_in_the_middle_of_a_batch_says_how_many_were_accepted(sqs: Any, new: New) -> None:
    """Of ten messages one fails when it is repeated as well, so nine were accepted."""
    broker = new()
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["InternalError", 500, 1]})

    with pytest.raises(BackendUnavailable, match=r"internal error.*; 9 of 20 messages were accepted"):
        broker.enqueue(numbered(20))

    assert broker.size().ready == 9


def test_messages_accepted_before_the_credentials_expire_are_counted(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the credentials expire in the middle of a batch, the accepted messages are counted."""
    broker = new()
    ask = broker._queues.connection.ask

    def refused(operation: str, **fields: Any) -> Any:
        if operation == "send_message":
            raise BackendRejected("no AWS credentials")
        return ask(operation, **fields)

    monkeypatch.setattr(broker._queues.connection, "ask", refused)
    sqs.tell(partial={"SendMessageBatch": 1})

    with pytest.raises(BackendRejected, match="no AWS credentials; 8 of 10 messages were accepted"):
        broker.enqueue(numbered(10))


def test_an_error_before_anything_was_accepted_counts_nothing(sqs: Any, new: New) -> None:
    """The error does not mention accepted messages."""
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["InternalError", 500, 1]})
    with pytest.raises(BackendUnavailable, match="internal error") as caught:
        broker.enqueue(numbered(20))
    assert "accepted" not in str(caught.value)


def test_an_enqueue_is_repeated_if_sqs_is_unavailable(sqs: Any, new: New) -> None:
    """The answer says that SQS did not process the request, so repeating it duplicates nothing."""
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["ServiceUnavailable", 503, 1]})
    broker.enqueue(numbered(10))
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["ServiceUnavailable", 503, 1]})
    broker.enqueue(numbered(10))
    assert broker.size().ready == 20


def test_an_enqueue_raises_if_sqs_stays_unavailable(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts the error is raised to the caller."""
    monkeypatch.setattr(client, "_THROTTLE_RETRIES", (3, 0.01, 0.01))
    broker = new()
    sqs.tell(fail={"SendMessageBatch": ["ServiceUnavailable", 503, 9]})
    with pytest.raises(BackendUnavailable, match="it is unavailable"):
        broker.enqueue(numbered(1))
    assert sqs.left()["fail"]["SendMessageBatch"][2] == 6


def test_letters_requeued_before_an_error_are_counted_and_not_requeued_again(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters that were sent are no longer listed when the error is raised."""
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

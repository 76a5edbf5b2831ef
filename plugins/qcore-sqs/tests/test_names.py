"""Names of queues are checked when the configuration is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore.errors import ConfigError
from qcore_sqs import SqsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_sqs import SqsBroker

KEY = "the key of these tests, not of anybody else"
URL = "https://user:hidden@sqs.eu-west-1.amazonaws.com/1234/orders"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"queue": ""}, "queue is not a valid name of a queue at SQS"),
        ({"queue": "or.ders"}, "letters, digits, - and _"),
        ({"dead_letter_queue": "dead letters"}, "dead_letter_queue is not a valid name of a queue at SQS"),
        ({"queue": "orders\n"}, "queue is not a valid name"),
        ({"queue": "a" * 81}, "80 characters at most"),
        ({"queue": "a" * 76 + ".fifo"}, "80 characters at most"),
        ({"queue": "a" * 68}, "dead_letter_queue: missing, and cannot be derived from queue"),
        ({"queue": URL}, "queue is a URL or an ARN; write only the name, 'orders'"),
        ({"queue": "arn:aws:sqs:eu-west-1:1234:orders"}, "write only the name, 'orders'"),
        ({"queue": "https://here/?hidden"}, "write only the name, the part after the last slash"),
        ({"fifo": True, "queue": "orders"}, "queue must end in .fifo, because fifo is true"),
        ({"fifo": True, "dead_letter_queue": "dead"}, "dead_letter_queue must end in .fifo"),
        ({"queue": "orders.fifo", "dead_letter_queue": "dead"}, "dead_letter_queue must end in .fifo"),
        ({"queue": "orders", "dead_letter_queue": "dead.fifo"}, "dead_letter_queue must not end in .fifo"),
        ({"dead_letter_queue": "dead.fifo"}, "dead_letter_queue must not end in .fifo"),
        ({"queue": "same", "dead_letter_queue": "same"}, "queue and dead_letter_queue are the same"),
    ],
)
def test_a_name_that_sqs_would_refuse_is_reported(table: dict[str, Any], message: str) -> None:
    """Otherwise the error would appear with the first task that is dead-lettered."""
    with pytest.raises(ConfigError, match="sqs") as caught:
        Config.from_dict({"name": "q", "secret_key": KEY, "sqs": table})
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        {"queue": "a" * 67},
        {"queue": "a" * 80, "dead_letter_queue": "b" * 80},
        {"queue": "orders.fifo"},
        {"queue": "orders.fifo", "dead_letter_queue": "dead.fifo", "fifo": True},
        {"dead_letter_queue": "dead.fifo", "fifo": True},
        {"queue": "Or-ders_2", "dead_letter_queue": "dead"},
    ],
)
def test_a_name_that_sqs_accepts_is_accepted(table: dict[str, Any]) -> None:
    """A queue whose name ends in .fifo is a FIFO queue, even if `fifo` is not set."""
    assert SqsSettings(**table)


def test_the_queue_itself_cannot_hold_its_dead_letters(new: Callable[..., SqsBroker]) -> None:
    """Dead letters in the queue itself would be leased again for ever."""
    with pytest.raises(ConfigError, match=r"sqs\.dead_letter_queue: got 'mail', which is the queue itself"):
        new(dead_letter_queue="mail")

"""Names of queues that SQS would not take are told when the configuration is read."""

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
    ("table", "said"),
    [
        ({"queue": ""}, "queue is no name of a queue at SQS"),
        ({"queue": "or.ders"}, "letters, digits, - and _"),
        ({"buried_queue": "dead letters"}, "buried_queue is no name of a queue at SQS"),
        ({"queue": "orders\n"}, "queue is no name"),
        ({"queue": "a" * 81}, "80 characters at most"),
        ({"queue": "a" * 76 + ".fifo"}, "80 characters at most"),
        ({"queue": "a" * 74}, "buried_queue: missing, and none can be made from queue"),
        ({"queue": URL}, "queue is a URL or an ARN; write the name alone, 'orders'"),
        ({"queue": "arn:aws:sqs:eu-west-1:1234:orders"}, "write the name alone, 'orders'"),
        ({"queue": "https://here/?hidden"}, "write the name alone, what stands behind the last slash"),
        ({"fifo": True, "queue": "orders"}, "queue must end in .fifo, for fifo is true"),
        ({"fifo": True, "buried_queue": "dead"}, "buried_queue must end in .fifo"),
        ({"queue": "orders.fifo", "buried_queue": "dead"}, "buried_queue must end in .fifo"),
        ({"queue": "orders", "buried_queue": "dead.fifo"}, "buried_queue must not end in .fifo"),
        ({"buried_queue": "dead.fifo"}, "buried_queue must not end in .fifo"),
        ({"queue": "same", "buried_queue": "same"}, "queue and buried_queue are the same"),
    ],
)
def test_a_name_that_sqs_would_refuse_is_told(table: dict[str, Any], said: str) -> None:
    """Else the first task that is buried would find out, and its worker with it."""
    with pytest.raises(ConfigError, match=r"- sqs") as caught:
        Config.from_dict({"name": "q", "secret_key": KEY, "sqs": table})
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        {"queue": "a" * 73},
        {"queue": "a" * 80, "buried_queue": "b" * 80},
        {"queue": "orders.fifo"},
        {"queue": "orders.fifo", "buried_queue": "dead.fifo", "fifo": True},
        {"buried_queue": "dead.fifo", "fifo": True},
        {"queue": "Or-ders_2", "buried_queue": "dead"},
    ],
)
def test_a_name_that_sqs_takes_is_taken(table: dict[str, Any]) -> None:
    """A queue that ends in .fifo is one, also where `fifo` is not said."""
    assert SqsSettings(**table)


def test_dead_letters_in_the_queue_made_from_the_name_are_told(new: Callable[..., SqsBroker]) -> None:
    """They would be handed out again as tasks, for ever."""
    with pytest.raises(ConfigError, match=r"sqs\.buried_queue: got 'mail', which is the queue itself"):
        new(buried_queue="mail")

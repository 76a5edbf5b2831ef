"""Defines the configuration key `sqs`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal

import attrs

from qcore_queues.routes import check_declared
from qcore_sqs.names import FIFO, dead_letters_name

#: most seconds that SQS lets one receive wait
MAX_POLL = 20
#: most characters of a queue's name, with its suffix
_MAX_NAME = 80
_NAME = r"[A-Za-z0-9_-]+(\.fifo)?"


def _within(least: int, most: int) -> Callable[[object, attrs.Attribute[int | None], int | None], None]:
    def check(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
        if value is not None and not least <= value <= most:
            raise ValueError(f"{attribute.name} is {value}; SQS accepts {least} to {most}")

    return check


def _seconds(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} is {value}; it must be a number of seconds above 0")


def _region(_: object, __: attrs.Attribute[str | None], value: str | None) -> None:
    # the value is not shown, because users of other programs write credentials into such a URL
    if value is not None and not re.fullmatch(r"[a-z0-9-]*", value):
        raise ValueError(
            "aws_region must be a region such as us-east-1, and a URL must have the form sqs://us-east-1; "
            "give credentials in any way that boto3 supports, not in the URL"
        )


def _without_whitespace(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and re.search(r"\s", value):
        raise ValueError(f"{attribute.name} contains whitespace, perhaps a line end at its end; remove it")


def _name(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is None or (re.fullmatch(_NAME, value) and len(value) <= _MAX_NAME):
        return
    if "/" in value or value.startswith("arn:"):
        # not shown completely, because a URL may contain a password
        last = value.rpartition(":" if value.startswith("arn:") else "/")[2]
        shown = repr(last) if re.fullmatch(_NAME, last) else "the part after the last slash or colon"
        raise ValueError(
            f"{attribute.name} is a URL or an ARN; write only the name, {shown}; aws_region, "
            "the credentials and endpoint_url say where the queue is"
        )
    raise ValueError(
        f"{attribute.name} is not a valid name of a queue at SQS: use letters, digits, - and _, {FIFO} at"
        f" the end for a FIFO queue, {_MAX_NAME} characters at most"
    )


def _declared(_: object, __: attrs.Attribute[list[str]], value: list[str]) -> None:
    check_declared(value)


@attrs.frozen(kw_only=True)
class SqsSettings:
    """The configuration key `sqs`; boto3's own configuration is used for fields that are not set."""

    #: for example us-east-1
    aws_region: str | None = attrs.field(default=None, validator=_region)
    aws_access_key_id: str | None = attrs.field(default=None, repr=False, validator=_without_whitespace)
    aws_secret_access_key: str | None = attrs.field(default=None, repr=False, validator=_without_whitespace)
    #: needed with temporary credentials
    aws_session_token: str | None = attrs.field(default=None, repr=False, validator=_without_whitespace)
    #: name of a profile in boto3's configuration files
    aws_profile: str | None = None
    #: URL of another service with SQS's protocol, or of an endpoint in your network
    endpoint_url: str | None = attrs.field(default=None, repr=False)
    #: seconds for which one request waits for messages, 0 to 20; 0 = no long poll
    receive_message_wait_time_seconds: int | None = attrs.field(default=None, validator=_within(0, MAX_POLL))
    #: seconds a call may take as a whole, beyond the time it waits for messages
    timeout: float = attrs.field(default=10.0, validator=_seconds)
    #: name of the queue at SQS; None = derived from `name`
    queue: str | None = attrs.field(default=None, validator=_name)
    #: name of the queue of the dead letters; None = the queue's name with `-dead-letters`
    dead_letter_queue: str | None = attrs.field(default=None, validator=_name)
    #: queues beside `default`, each with a queue of its own at SQS
    queues: list[str] = attrs.field(factory=list, validator=_declared)
    #: tell priorities above 0, 0 and below 0 apart, by a queue of its own for each
    priorities: bool = False
    #: create a missing queue
    create: bool = True
    #: more attributes of a created queue, see CreateQueue
    attributes: dict[str, str] = attrs.field(factory=dict)
    #: receives after which SQS moves a message of a created queue to the dead letters; None = never
    max_receives: int | None = attrs.field(default=None, validator=_within(1, 1000))
    #: use a FIFO queue
    fifo: bool = False
    #: FIFO: the message group of all tasks, which run one after the other; None = a group for each task
    group: str | None = None
    #: FIFO: a message is dropped if SQS accepted one in the last five minutes in the same `call` (a
    #: repeated request), with the same task `id`, or with the same `content`, which includes the id
    deduplication: Literal["call", "id", "content"] = "call"

    def __attrs_post_init__(self) -> None:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError(
                "aws_access_key_id and aws_secret_access_key belong together; set both or neither"
            )
        self._check_names()

    def _check_names(self) -> None:
        if self.fifo and self.queue and not self.queue.endswith(FIFO):
            raise ValueError(f"queue must end in {FIFO}, because fifo is true")
        if self.dead_letter_queue and self.dead_letter_queue.endswith(FIFO) != self.is_fifo:
            must, is_ = ("must", "is a") if self.is_fifo else ("must not", "is not a")
            raise ValueError(f"dead_letter_queue {must} end in {FIFO}, because the queue {is_} FIFO queue")
        if self.queue and self.queue == self.dead_letter_queue:
            raise ValueError(
                "queue and dead_letter_queue are the same; dead letters need a queue of their own"
            )
        if self.queue and not self.dead_letter_queue and len(dead_letters_name(self.queue)) > _MAX_NAME:
            raise ValueError(
                "dead_letter_queue: missing, and cannot be derived from queue, because it would have more "
                f"than {_MAX_NAME} characters; set it"
            )

    @property
    def is_fifo(self) -> bool:
        """Whether the queue is a FIFO queue, by `fifo` or by its name."""
        return self.fifo or bool(self.queue and self.queue.endswith(FIFO))

"""What a user may write under the key `sqs`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import attrs

from qcore_sqs.names import FIFO, dead_letters_name

#: seconds SQS lets one receive wait
LONGEST_POLL = 20
#: characters of a queue's name, its ending included
_LONGEST_NAME = 80
_NAME = r"[A-Za-z0-9_-]+(\.fifo)?"


def _within(least: int, most: int) -> Callable[[object, attrs.Attribute[int | None], int | None], None]:
    def check(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
        if value is not None and not least <= value <= most:
            raise ValueError(f"{attribute.name} is {value}; SQS takes {least} to {most}")

    return check


def _region(_: object, __: attrs.Attribute[str | None], value: str | None) -> None:
    # not repeated: where others have a URL with credentials in it, they would stand here
    if value is not None and not re.fullmatch(r"[a-z0-9-]*", value):
        raise ValueError(
            "aws_region is no region such as us-east-1, or the URL is not of the form sqs://us-east-1; "
            "credentials do not belong into it, they are found as boto3 finds them"
        )


def _unbroken(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and re.search(r"\s", value):
        raise ValueError(
            f"{attribute.name} has whitespace in it, perhaps an end of line behind it; remove it"
        )


def _name(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is None or (re.fullmatch(_NAME, value) and len(value) <= _LONGEST_NAME):
        return
    if "/" in value or value.startswith("arn:"):
        # not repeated as a whole: a URL may hold a password
        last = value.rpartition(":" if value.startswith("arn:") else "/")[2]
        shown = repr(last) if re.fullmatch(_NAME, last) else "what stands behind the last slash or colon"
        raise ValueError(
            f"{attribute.name} is a URL or an ARN; write the name alone, {shown}: where it is, aws_region, "
            "the credentials and endpoint_url say"
        )
    raise ValueError(
        f"{attribute.name} is no name of a queue at SQS: letters, digits, - and _, with {FIFO} behind a "
        f"FIFO queue's, {_LONGEST_NAME} characters at most"
    )


@attrs.frozen(kw_only=True)
class SqsSettings:
    """The key `sqs`; what is not said is found as boto3 finds it."""

    #: such as us-east-1
    aws_region: str | None = attrs.field(default=None, validator=_region)
    aws_access_key_id: str | None = attrs.field(default=None, repr=False, validator=_unbroken)
    aws_secret_access_key: str | None = attrs.field(default=None, repr=False, validator=_unbroken)
    #: with temporary credentials
    aws_session_token: str | None = attrs.field(default=None, repr=False, validator=_unbroken)
    #: a profile of boto3's configuration files
    aws_profile: str | None = None
    #: another service that speaks SQS, or an endpoint of your network
    endpoint_url: str | None = attrs.field(default=None, repr=False)
    #: seconds one request waits for messages, 0 to 20; 0 = no long poll
    receive_message_wait_time_seconds: int | None = attrs.field(
        default=None, validator=_within(0, LONGEST_POLL)
    )
    #: name of the queue at SQS; None = made from `name`
    queue: str | None = attrs.field(default=None, validator=_name)
    #: name of the queue of the dead letters; None = the queue's, with `-buried`
    buried_queue: str | None = attrs.field(default=None, validator=_name)
    #: make a queue that is missing
    create: bool = True
    #: more attributes for a queue that is made, as CreateQueue has them
    attributes: dict[str, str] = attrs.field(factory=dict)
    #: a queue that is made moves what was received so often to the dead letters; None = never
    max_receives: int | None = attrs.field(default=None, validator=_within(1, 1000))
    #: use a FIFO queue
    fifo: bool = False
    #: FIFO: the message group of every task, one after the other; None = each task is its own
    group: str | None = None
    #: FIFO: a message is dropped if one was accepted in the last five minutes in the same
    #: `call` (a repeated request), with the same `id` (of the task) or the same `content`, which has
    #: the id in it: two equal calls are two
    deduplication: Literal["call", "id", "content"] = "call"

    def __attrs_post_init__(self) -> None:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError(
                "aws_access_key_id and aws_secret_access_key belong together; give both, or none"
            )
        self._check_names()

    def _check_names(self) -> None:
        if self.fifo and self.queue and not self.queue.endswith(FIFO):
            raise ValueError(f"queue must end in {FIFO}, for fifo is true")
        if self.buried_queue and self.buried_queue.endswith(FIFO) != self.is_fifo:
            must, is_ = ("must", "is a") if self.is_fifo else ("must not", "is no")
            raise ValueError(f"buried_queue {must} end in {FIFO}, for the queue {is_} FIFO queue")
        if self.queue and self.queue == self.buried_queue:
            raise ValueError("queue and buried_queue are the same; dead letters take a queue of their own")
        if self.queue and not self.buried_queue and len(dead_letters_name(self.queue)) > _LONGEST_NAME:
            raise ValueError(
                "buried_queue: missing, and none can be made from queue, for it would have more than "
                f"{_LONGEST_NAME} characters; set it"
            )

    @property
    def is_fifo(self) -> bool:
        """Whether the queue is a FIFO queue; its name says so, too."""
        return self.fifo or bool(self.queue and self.queue.endswith(FIFO))

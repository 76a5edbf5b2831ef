"""What a user may write under the key `sqs`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import attrs

#: seconds SQS lets one receive wait
LONGEST_POLL = 20


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
    queue: str | None = None
    #: name of the queue of the dead letters; None = the queue's, with `-buried`
    buried_queue: str | None = None
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
    #: `call` (a repeated request), with the same `id` (of the task) or the same `content`
    deduplication: Literal["call", "id", "content"] = "call"

    def __attrs_post_init__(self) -> None:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError(
                "aws_access_key_id and aws_secret_access_key belong together; give both, or none"
            )

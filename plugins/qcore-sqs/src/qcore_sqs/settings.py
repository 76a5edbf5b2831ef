"""What a user may write under the key `sqs`."""

from __future__ import annotations

from typing import Literal

import attrs

#: seconds SQS lets one receive wait
LONGEST_POLL = 20


def _wait(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and not 0 <= value <= LONGEST_POLL:
        raise ValueError(f"must be 0 to {LONGEST_POLL} seconds, as SQS has it; leave {attribute.name} out")


def _receives(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and not 1 <= value <= 1000:
        raise ValueError(f"must be 1 to 1000, as SQS has it; leave {attribute.name} out for no redrive policy")


@attrs.frozen(kw_only=True)
class SqsSettings:
    """The key `sqs`; what is not said is found as boto3 finds it."""

    #: such as us-east-1
    aws_region: str | None = None
    aws_access_key_id: str | None = attrs.field(default=None, repr=False)
    aws_secret_access_key: str | None = attrs.field(default=None, repr=False)
    #: with temporary credentials
    aws_session_token: str | None = attrs.field(default=None, repr=False)
    #: a profile of boto3's configuration files
    aws_profile: str | None = None
    #: another service that speaks SQS, or an endpoint of your network
    endpoint_url: str | None = attrs.field(default=None, repr=False)
    #: seconds one request waits for messages, 0 to 20; 0 = no long poll
    receive_message_wait_time_seconds: int | None = attrs.field(default=None, validator=_wait)
    #: name of the queue at SQS; None = made from `name`
    queue: str | None = None
    #: name of the queue of the dead letters; None = the queue's, with `-buried`
    buried_queue: str | None = None
    #: make a queue that is missing
    create: bool = True
    #: more attributes for a queue that is made, as CreateQueue has them
    attributes: dict[str, str] = attrs.field(factory=dict)
    #: a queue that is made moves what was received so often to the dead letters; None = never
    max_receives: int | None = attrs.field(default=None, validator=_receives)
    #: use a FIFO queue
    fifo: bool = False
    #: FIFO: the message group of every task, one after the other; None = each task is its own
    group: str | None = None
    #: FIFO: a message is dropped if one was accepted in the last five minutes in the same
    #: `call` (a repeated request), with the same `id` (of the task) or the same `content`
    deduplication: Literal["call", "id", "content"] = "call"

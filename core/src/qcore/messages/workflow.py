"""What a message carries beside its call."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from qcore.coordination import BarrierMember  # noqa: TC001 - as above
from qcore.errors import MalformedMessage
from qcore.model import Outgoing, StoredResult  # noqa: TC001 - read at run time by msgspec

# Everything here travels inside messages that are signed, so it is believed. New fields go to
# the end and have a default: older readers pass over them.


#: Returns the list it is given: what `App.iter` waits for. Every worker may run it.
COLLECTED: Final = "qcore.flows.app_api.collected"


class Link(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message that is not sealed yet, for something has to end before it may be enqueued."""

    id: bytes
    #: encoded `Head`
    head: bytes
    #: serialised; empty for a call without any
    arguments: bytes = b""
    #: code of the serializer
    serializer: int = 0
    #: the arguments are positional ones and named ones
    named: bool = False
    #: seconds, counted from the moment it is enqueued
    delay: float = 0.0
    #: seconds after which it is not started any more, counted from then too; 0 = never
    expires: float = 0.0
    #: what comes behind it is enqueued although it failed
    continue_on_failure: bool = False


class GroupMember(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The place of a message, or of the chain it is in, among those whose results are gathered."""

    #: 16 bytes, of the flow they belong to
    flow: bytes
    #: place among the members, from 0
    index: int
    #: how many of them there are
    count: int
    #: what is enqueued once all have ended
    callback: Link
    #: see `GroupResults.whole`
    whole: bool = False


class GroupResults(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The members a message waited for; what they returned is its first argument."""

    #: 16 bytes, of their flow
    flow: bytes
    count: int
    #: give it `Result`s, and call it although some failed
    whole: bool = False
    #: the member that enqueued it
    by: bytes = b""


class PreviousResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The value a chain's link hands to the next."""

    #: code of the serializer; 0 = there is no value
    serializer: int = 0
    value: bytes = b""


class FinalResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a task ended, for its hook."""

    id: bytes
    #: as stored, sealed
    body: bytes


class WorkflowHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a message carries beside its call."""

    #: links of a chain that come behind this one
    links: list[Link] = []
    #: each link is given the value of the one before
    pipe_result: bool = False
    #: place of this link in its chain, from 1, and how many there are; 0 = it is in none
    position: int = 0
    total: int = 0
    #: what comes behind it is enqueued although it failed
    continue_on_failure: bool = False
    member: GroupMember | None = None
    gathered: GroupResults | None = None
    fed: PreviousResult | None = None
    ending: FinalResult | None = None
    #: the key it is unique by
    unique: str | None = None
    #: keys of the places it holds and gives up when it has ended for good
    places: list[str] = []
    #: queue that keeps the schedule it comes from; empty = this one
    home: str = ""


class FollowUp(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is to be done between the result of a task and its acknowledgement."""

    messages: list[Outgoing] = []
    #: of tasks that will not run because of it
    results: list[StoredResult] = []
    #: it is one of several that are waited for, and brings this
    arrival: BarrierMember | None = None
    #: of the arrival
    member: GroupMember | None = None
    #: the gathering that is not needed any more
    gathered: GroupResults | None = None
    #: keys and holders of places that are given up
    places: list[tuple[str, bytes]] = []


encode_tail: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(WorkflowHeader).decode


def read_workflow(data: bytes) -> WorkflowHeader:
    """Read the tail of a message whose signature was verified.

    Raises:
        MalformedMessage: not of a version we know.

    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        msg = f"not a tail of a known version: {exc}"
        raise MalformedMessage(msg) from exc


def derived(id: bytes, what: str, number: int = 0) -> bytes:
    """Return the id of what follows from a task or a flow: whoever enqueues it makes the same."""
    noise = hashlib.sha256(id + b"\0" + what.encode() + b"\0" + number.to_bytes(4, "big")).digest()
    # Ordered by time, as all ids are.
    return id[:6] + noise[:10]


def key_of(flow: bytes) -> str:
    """Return the key of a flow's gathering."""
    return f"flow:{flow.hex()}"

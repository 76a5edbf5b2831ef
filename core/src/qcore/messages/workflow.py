"""Defines the flow of tasks that a message belongs to."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from qcore.coordination import BarrierMember  # noqa: TC001 - as above
from qcore.errors import MalformedMessage
from qcore.model import Outgoing, StoredResult  # noqa: TC001 - read at run time by msgspec

# Everything here is part of signed messages, so it is trusted. New fields are added at the end with a
# default, so that older readers ignore them.


#: Task that returns the list it gets, which `App.iter` waits for; every worker may run it.
COLLECTED: Final = "qcore.flows.app_api.collected"


class Link(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message that is not signed yet, because another task has to end before it is enqueued."""

    id: bytes
    #: encoded `Head`
    head: bytes
    #: serialised; empty for a call without any
    arguments: bytes = b""
    #: code of the serializer
    serializer: int = 0
    #: the arguments are positional and keyword arguments
    named: bool = False
    #: seconds, counted from its enqueuing
    delay: float = 0.0
    #: seconds after its enqueuing after which it must not start; 0 = never
    expires: float = 0.0
    #: the next link is enqueued even if this one failed
    continue_on_failure: bool = False


class GroupMember(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The membership of a message, or of its chain, in a group whose results are collected."""

    #: id of the flow, 16 bytes
    flow: bytes
    #: index of the member, from 0
    index: int
    #: number of members
    count: int
    #: enqueued once all members have ended
    callback: Link
    #: see `GroupResults.whole`
    whole: bool = False


class GroupResults(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The group that a callback waited for; the list of its results is the first argument."""

    #: id of the flow, 16 bytes
    flow: bytes
    count: int
    #: pass `Result` objects, and call it even if members failed
    whole: bool = False
    #: id of the member that enqueued it
    by: bytes = b""


class PreviousResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The value that a link of a chain passes to the next one."""

    #: code of the serializer; 0 = there is no value
    serializer: int = 0
    value: bytes = b""


class FinalResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The final result of a task, for its callback."""

    id: bytes
    #: the stored record, signed
    body: bytes


class WorkflowHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The flow, the deduplication key and the schedule of a message."""

    #: the links of the chain after this one
    links: list[Link] = []
    #: each link gets the value of the one before it
    pipe_result: bool = False
    #: position of this link in its chain, from 1, and the number of links; 0 = not in a chain
    position: int = 0
    total: int = 0
    #: the next link is enqueued even if this one failed
    continue_on_failure: bool = False
    member: GroupMember | None = None
    gathered: GroupResults | None = None
    previous: PreviousResult | None = None
    final_result: FinalResult | None = None
    #: its deduplication key
    unique: str | None = None
    #: keys of the locks that it releases when it has ended
    permits: list[str] = []
    #: queue that stores its schedule; empty = this one
    home: str = ""


class FollowUp(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a worker does between saving the result of a task and acknowledging it."""

    messages: list[Outgoing] = []
    #: results of tasks that will not run because of it
    results: list[StoredResult] = []
    #: its record for the fan-in barrier of its group
    arrival: BarrierMember | None = None
    #: the membership of `arrival`
    member: GroupMember | None = None
    #: the group whose barrier is not needed any more
    gathered: GroupResults | None = None
    #: keys and holders of locks to release
    permits: list[tuple[str, bytes]] = []


encode_tail: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(WorkflowHeader).decode


def read_workflow(data: bytes) -> WorkflowHeader:
    """Decode the workflow header of a message whose signature was verified.

    Raises:
        MalformedMessage: it is not a header of a known version.

    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        msg = f"not a workflow header of a known version: {exc}"
        raise MalformedMessage(msg) from exc


def derived_id(id: bytes, what: str, number: int = 0) -> bytes:
    """Return the id of a follow-up of a task or a flow, the same in every process."""
    noise = hashlib.sha256(id + b"\0" + what.encode() + b"\0" + number.to_bytes(4, "big")).digest()
    # Ordered by time, like all ids.
    return id[:6] + noise[:10]


def barrier_key(flow: bytes) -> str:
    """Return the key of a flow's fan-in barrier."""
    return f"flow:{flow.hex()}"

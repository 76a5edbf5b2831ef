"""How the calls of a flow become its first messages."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import NotSupported, PayloadTooLarge
from qcore.flows.continuation import ContinuationBuilder
from qcore.journal.pages import MAX_HEADER
from qcore.messages.head import route_of
from qcore.messages.workflow import GroupMember, GroupResults, WorkflowHeader, derived_id, encode_tail
from qcore.model import Outgoing
from qcore.tasks.call import ONE_CONNECTION, Sealed
from qcore.tasks.producer import link_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.messages.workflow import Link
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call


#: Bytes of arguments that the callback of a group may have however many members there are. Each
#: member's message carries them, because any of them may be the last to end.
CARRIED: Final = 64 << 10
#: Bytes that all copies of larger arguments may take in the queue.
CARRIED_IN_ALL: Final = 16 << 20


def new_flow() -> bytes:
    """Return an id that the ids of a flow's tasks are derived from."""
    return (time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10)


def member_id(flow: bytes, index: int) -> bytes:
    """Return the id of a group member; for a chain it is the id of the last link."""
    return derived_id(flow, "member", index)


def callback_id(flow: bytes) -> bytes:
    """Return the id of the callback of a group."""
    return derived_id(flow, "callback")


def chain_ids(last: bytes, count: int) -> list[bytes]:
    """Return the ids of a chain's links."""
    return [*(derived_id(last, "link", number) for number in range(1, count)), last]


class FlowBuilder:
    """Makes the messages of one flow."""

    def __init__(self, runtime: Runtime, calls: Sequence[Call]) -> None:
        self._runtime = runtime
        self._now = time.time_ns() // 1_000_000
        given = {call.options.sync for call in calls} - {None}
        #: the whole flow is run in this process
        self.sync = runtime.config.sync if not given else True in given
        #: a call that is enqueued later has a delay
        self.delays = any(call.options.delay for call in calls)
        #: what the whole flow is enqueued by, see `Options.connection`
        self._connection = None
        for call in calls:
            if (wanted := call.options.connection) is not None:
                if self._connection is not None and self._connection is not wanted:
                    raise NotSupported(ONE_CONNECTION)
                self._connection = wanted

    def chain(self, calls: Sequence[Call], last: bytes, *, pipe_result: bool) -> list[Sealed]:
        """Return the first message of a chain; none if a hook skips a link."""
        links = self._links(calls, last, pipe_result=pipe_result)
        return [self._first(calls, links, pipe_result, None)] if links else []

    def group(
        self,
        members: Sequence[tuple[Sequence[Call], bool]],
        flow: bytes,
        callback: Call | None,
        *,
        whole: bool,
    ) -> list[Sealed]:
        """Return the first messages of all members; without members, that of the callback.

        Args:
            members: the calls of each chain, and whether it passes results on.
            flow: id of the flow.
            callback: what is called once all members have ended.
            whole: see `GroupResults`.

        Raises:
            PayloadTooLarge: the arguments of the callback are too large to be carried by each member.

        """
        built = []
        for index, (calls, pipe_result) in enumerate(members):
            links = self._links(calls, member_id(flow, index), pipe_result=pipe_result)
            if links:
                built.append((index, calls, links, pipe_result))
        ends = [links[-1] for _, _, links, _ in built]
        last = (
            None if callback is None else link_of(self._runtime, callback, callback_id(flow), ends, passed=1)
        )
        if last is not None and callback is not None:
            _check_size(callback.name, len(last.arguments), len(built))
        sealed = []
        for index, calls, links, pipe_result in built:
            member = None if last is None else GroupMember(flow, index, len(built), last, whole)
            sealed.append(self._first(calls, links, pipe_result, member))
        if last is not None and callback is not None and not built:
            tail = WorkflowHeader(gathered=GroupResults(flow, 0, whole))
            message = ContinuationBuilder(self._runtime).seal(last, tail)
            sealed.append(self._sealed(callback, message))
        return sealed

    def _links(self, calls: Sequence[Call], last: bytes, *, pipe_result: bool) -> list[Link]:
        """Return the links of a chain; none if a hook skips one, because the others need it."""
        made: list[Link] = []
        for call, id_ in zip(calls, chain_ids(last, len(calls)), strict=True):
            link = link_of(self._runtime, call, id_, made[-1:], passed=int(pipe_result and bool(made)))
            if link is None:
                return []
            made.append(link)
        return made

    def _first(
        self,
        calls: Sequence[Call],
        links: list[Link],
        pipe_result: bool,  # noqa: FBT001 - a part of what is built
        member: GroupMember | None,
    ) -> Sealed:
        first, *rest = links
        tail = b""
        if rest or member is not None:
            tail = encode_tail(
                WorkflowHeader(
                    links=rest,
                    pipe_result=pipe_result,
                    position=1,
                    total=len(links),
                    continue_on_failure=first.continue_on_failure,
                    member=member,
                )
            )
        body = self._runtime.envelope.seal(
            first.id,
            first.head,
            first.arguments,
            first.serializer,
            self._now,
            named=first.named,
            expires=(self._runtime.clock.now_ms() + int(first.expires * 1000) if first.expires else 0),
            tail=tail,
        )
        message = Outgoing(first.id, body, first.delay, *route_of(first.head))
        if len(tail) > MAX_HEADER:
            self._check_headers(calls, links, member)
        return self._sealed(calls[0], message)

    def _sealed(self, call: Call, message: Outgoing) -> Sealed:
        return Sealed(call, message, sync=self.sync, connection=self._connection)

    def _check_headers(self, calls: Sequence[Call], links: list[Link], member: GroupMember | None) -> None:
        """Refuse a header that could be lost with the worker of a task that runs at most once."""
        for number, call in enumerate(calls, 1):
            once = call.options.at_most_once
            header = encode_tail(WorkflowHeader(links=links[number:], member=member))
            if (self._runtime.config.at_most_once if once is None else once) and len(header) > MAX_HEADER:
                raise PayloadTooLarge(header_too_large(call.name, len(header)))


def header_too_large(name: str, size: int) -> str:
    """Return why a task that runs at most once must not begin."""
    return (
        f"{name} runs at most once, and what follows it takes {size} bytes, at most {MAX_HEADER} are kept "
        "if its worker is killed; store large arguments of the later steps elsewhere and pass their keys"
    )


def _check_size(name: str, size: int, members: int) -> None:
    """Refuse arguments whose copies would fill the queue."""
    if size > CARRIED and size * members > CARRIED_IN_ALL:
        msg = (
            f"the arguments of {name} are {size} bytes, and each of {members} members carries them, "
            f"{size * members} in all; at most {CARRIED} bytes each or {CARRIED_IN_ALL} in all; "
            "store large values elsewhere and pass their key"
        )
        raise PayloadTooLarge(msg)

"""The follow-up messages of an ended task: callback, next link, group."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.coordination import BarrierMember
from qcore.errors import EnvelopeError, PayloadTooLarge
from qcore.messages.head import Head, encode_head, read_head, route_of
from qcore.messages.workflow import (
    FinalResult,
    FollowUp,
    GroupResults,
    Link,
    PreviousResult,
    WorkflowHeader,
    barrier_key,
    derived_id,
    encode_tail,
)
from qcore.model import Kind, Outcome, Outgoing, State, StoredResult
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.messages.results import ResultBody, Results
    from qcore.messages.workflow import GroupMember
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.flow")


def wants_value(head: Head, tail: WorkflowHeader | None) -> bool:
    """Return whether the value of a task is needed although it is not stored."""
    if head.hook is not None:
        return True
    return tail is not None and (tail.member is not None or (tail.pipe_result and bool(tail.links)))


class ContinuationBuilder:
    """Makes the follow-up messages of final results; they are the same whoever makes them."""

    def __init__(self, runtime: Runtime, max_bytes: int | None = None) -> None:
        self._envelope = runtime.envelope
        #: where members of groups meet
        self.coordination = runtime.coordination_stores
        #: how results are sealed
        self.results = runtime.results
        #: see `Options.replay_window`
        self.replay_window = runtime.config.replay_window
        self._max_bytes = max_bytes
        self._clock = runtime.clock

    def after(self, head: Head, tail: WorkflowHeader | None, record: StoredResult, created: int) -> FollowUp:
        """Return what is written after a final result is stored.

        Args:
            head: of the message that ended.
            tail: its workflow header.
            record: its final result, as it is or would be stored.
            created: epoch milliseconds when it was enqueued.

        """
        messages: list[Outgoing] = []
        results: list[StoredResult] = []
        if head.hook is not None:
            self._hook(head, record, messages, results)
        if tail is None:
            return FollowUp(messages, results)
        permits = [(key, record.id) for key in tail.permits]
        if tail.links:
            try:
                following = self._next(tail, record)
                why = ""
            except PayloadTooLarge as exc:
                following, why = None, f"its result cannot be passed on: {exc}"
            if following is not None:
                return FollowUp([*messages, following], results, permits=permits)
            record = self._stopped(head, tail, record, created, why)
            results.append(record)
            last = read_head(tail.links[-1].head)
            if last.hook is not None:
                self._hook(last, record, messages, results)
        member = tail.member
        arrival = (
            None if member is None else BarrierMember(barrier_key(member.flow), member.index, record.body)
        )
        return FollowUp(messages, results, arrival, member, tail.gathered, permits)

    def callback(self, member: GroupMember) -> Outgoing:
        """Return the callback of a group, enqueued by this member."""
        by = derived_id(member.flow, "member", member.index)
        gathered = GroupResults(member.flow, member.count, member.whole, by)
        return self.seal(member.callback, WorkflowHeader(gathered=gathered))

    def seal(self, link: Link, tail: WorkflowHeader | None) -> Outgoing:
        """Return a link as a message.

        Raises:
            PayloadTooLarge: for the configuration or the broker.

        """
        now = time.time_ns() // 1_000_000
        body = self._envelope.seal(
            link.id,
            link.head,
            link.arguments,
            link.serializer,
            now,
            named=link.named,
            expires=self._clock.now_ms() + int(link.expires * 1000) if link.expires else 0,
            derived=True,
            tail=b"" if tail is None else encode_tail(tail),
        )
        if self._max_bytes is not None and len(body) > self._max_bytes:
            msg = f"the message has {len(body)} bytes, the broker takes {self._max_bytes}"
            raise PayloadTooLarge(msg)
        return Outgoing(link.id, body, link.delay, *route_of(link.head))

    def failed(self, link: Link, why: str, created: int, kind: Kind = Kind.SKIPPED) -> StoredResult:
        """Return the result of a link that will not run."""
        head, outcome = read_head(link.head), Outcome.unrun(kind, why)
        return self.results.seal(
            link.id, head, State.FAILED, outcome, b"", created=created, attempts=0, crashes=0
        )

    def _next(self, tail: WorkflowHeader, record: StoredResult) -> Outgoing | None:
        if record.state is not State.SUCCESS and not tail.continue_on_failure:
            return None
        link, *links = tail.links
        fed = None
        if tail.pipe_result:
            body = self.results.open(record.id, record.body)
            fed = PreviousResult(body.serializer, body.value)
        if not links and fed is None and tail.member is None:
            return self.seal(link, None)
        return self.seal(
            link,
            WorkflowHeader(
                links=links,
                pipe_result=tail.pipe_result,
                position=tail.position + 1,
                total=tail.total,
                continue_on_failure=link.continue_on_failure,
                member=tail.member,
                previous=fed,
            ),
        )

    def _stopped(
        self, head: Head, tail: WorkflowHeader, record: StoredResult, created: int, why: str
    ) -> StoredResult:
        body = self.results.open(record.id, record.body)
        text = f"stopped at link {tail.position} of {tail.total} ({head.name}): {why or body.error}"
        # Cancelling a link cancels the chain.
        kind = Kind.CANCELLED if body.kind == Kind.CANCELLED.value else Kind.SKIPPED
        return self.failed(tail.links[-1], text, created, kind)

    def _hook(
        self, head: Head, record: StoredResult, messages: list[Outgoing], results: list[StoredResult]
    ) -> None:
        # One attempt only, because a callback learns of the end and is not part of the work.
        called = Head(
            head.hook or "",
            max_attempts=1,
            ack_failure=True,
            save=False,
            headers=head.headers,
            queue=head.queue,
            priority=head.priority,
        )
        link = Link(derived_id(record.id, "hook"), encode_head(called))
        try:
            messages.append(self.seal(link, WorkflowHeader(final_result=FinalResult(record.id, record.body))))
        except PayloadTooLarge as exc:
            why = f"the hook of task {record.id.hex()} cannot be called with its result: {exc}"
            _log.error("%s", why)
            results.append(self.failed(link, why, int(record.finished * 1000)))


class UpstreamFailed(Exception):
    """A task that this one waited for has failed."""

    def __init__(self, message: str, kind: Kind = Kind.SKIPPED) -> None:
        super().__init__(message)
        #: how the task that waited ends
        self.kind = kind


def upstream_args(
    results: Results, tail: WorkflowHeader, members: Mapping[int, bytes]
) -> Callable[[], Sequence[Any]] | None:
    """Return a function that returns the values before a task's arguments, None if there are none.

    The values are verified now, and decoded when the function is called.

    Args:
        results: of the queue.
        tail: workflow header of the task's message.
        members: the sealed results of the group members it waited for.

    Raises:
        UpstreamFailed: the task must not be called; the text says why.

    """
    ending, fed, gathered = tail.final_result, tail.previous, tail.gathered
    if ending is not None:
        body = results.open(ending.id, ending.body)
        return lambda: (results.result(ending.id, body),)
    if fed is not None:
        return lambda: (results.value(fed.serializer, fed.value),)
    if gathered is not None:
        bodies = _members(results, gathered, members)
        if gathered.whole:
            return lambda: ([results.result(id, body) for id, body in bodies],)
        return lambda: ([results.value(body.serializer, body.value) for _, body in bodies],)
    return None


#: Seconds a fan-in barrier is kept after the last member joined it: 30 days.
KEPT: Final = 30 * 86400.0


def _members(
    results: Results, gathered: GroupResults, members: Mapping[int, bytes]
) -> list[tuple[bytes, ResultBody]]:
    if len(members) != gathered.count:
        msg = (
            f"of {counted(gathered.count, 'result')} {len(members)} are stored;"
            f" they are kept {KEPT / 86400:.0f} days"
        )
        raise UpstreamFailed(msg)
    found = []
    for index in sorted(members):
        # The id is derived here and not read, so no other task's result passes for this one's.
        id_ = derived_id(gathered.flow, "member", index)
        try:
            found.append((id_, results.open(id_, members[index])))
        except EnvelopeError as exc:
            msg = f"the result of #{index + 1} cannot be trusted: {exc}"
            raise UpstreamFailed(msg) from exc
    failed = [(index, body) for index, (_, body) in enumerate(found, 1) if body.state is not State.SUCCESS]
    if failed and not gathered.whole:
        index, first = failed[0]
        msg = f"{len(failed)} of {gathered.count} failed, the first is #{index}: {first.error}"
        # Cancelling members cancels the callback, as cancelling a link cancels the chain.
        cancelled = all(body.kind == Kind.CANCELLED.value for _, body in failed)
        raise UpstreamFailed(msg, Kind.CANCELLED if cancelled else Kind.SKIPPED)
    return found

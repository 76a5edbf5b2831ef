"""One leased message, and whether it may run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from qcore.errors import EnvelopeError, UnknownKey
from qcore.flows.continuation import UpstreamFailed, upstream_args
from qcore.journal.records import HeldMessage
from qcore.messages.workflow import key_of, read_workflow
from qcore.model import Action, Kind, Settlement, State
from qcore.settle import decide, redelivery_limit_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import ResultStore
    from qcore.messages.envelope import Opened
    from qcore.messages.results import ResultBody, Results
    from qcore.messages.workflow import WorkflowHeader
    from qcore.model import Delivery, StoredResult
    from qcore.settle import Rules
    from qcore.tasks.plan import TaskPlan


_log = logging.getLogger("qcore.worker")


class LeasedMessage:
    """One verified message of a batch and the plan to run it."""

    __slots__ = (
        "crashes",
        "deliveries",
        "failures",
        "has_follow_ups",
        "opened",
        "plan",
        "receipt",
        "tail",
        "upstream_args",
    )

    def __init__(self, delivery: Delivery, opened: Opened, plan: TaskPlan) -> None:
        self.opened = opened
        self.plan = plan
        self.receipt = delivery.receipt
        self.deliveries = delivery.deliveries
        self.failures = delivery.failures
        self.crashes = delivery.crashes
        self.tail: WorkflowHeader | None = None
        #: something is to be done between its result and its acknowledgement
        self.has_follow_ups = plan.hooked
        if opened.tail:
            self.tail = read_workflow(opened.tail)
            self.has_follow_ups = True
        #: returns the values that stand before its arguments; None = there are none
        self.upstream_args: Callable[[], Sequence[Any]] | None = None

    @property
    def may_be_cancelled(self) -> bool:
        """Whether it may have been called off before it came: it has come before, or had a handle by then."""
        if self.deliveries > 1:
            return True
        return self.opened.derived and (self.tail is None or self.tail.ending is None)


def journal_records(entries: Sequence[LeasedMessage]) -> list[HeldMessage]:
    """Return what the supervisor must know of messages."""
    return [
        HeldMessage(
            one.receipt,
            (opened := one.opened).id,
            opened.head,
            one.deliveries,
            one.failures,
            one.crashes,
            opened.created,
            one.has_follow_ups,
        )
        for one in entries
    ]


def skip_reason(
    one: LeasedMessage, before: StoredResult | None, came: Delivery, now: float, *, renew: bool
) -> tuple[Kind | None, str]:
    """Return why a message is not to be run, None if it is.

    Args:
        one: the message.
        before: what is stored of an earlier run.
        came: its delivery.
        now: epoch seconds.
        renew: leases are prolonged while a task runs.

    """
    if before is not None and before.state is State.SUCCESS:
        # Without renewal the specification holds to the letter: a message that was waiting
        # again before the success came is run. At its first delivery it was enqueued twice.
        known = one.opened.derived if one.deliveries == 1 else not 0 < came.available < before.finished
        if known or (renew and one.deliveries > 1):
            return Kind.ALREADY_SUCCEEDED, ""
    elif before is not None and before.state is State.FAILED and one.deliveries > 1:
        # At its first delivery that cannot be said: it may have been requeued since.
        return Kind.ALREADY_FAILED, ""
    if 0 < one.opened.expires < now * 1000:
        late = now - one.opened.expires / 1000
        return Kind.EXPIRED, f"it expired {late:.1f} seconds before a worker came to it"
    if one.deliveries == 1:
        return None, ""
    why = redelivery_limit_reason(
        one.plan.rules, deliveries=one.deliveries, failures=one.failures, crashes=one.crashes
    )
    return (Kind.CRASH, why) if why else (None, "")


def stored(
    entries: Sequence[LeasedMessage], store: ResultStore, results: Results
) -> dict[bytes, StoredResult]:
    """Return what is stored of these messages' tasks, by id; what goes on from it must be genuine."""
    found = {}
    records = store.get([one.opened.id for one in entries]) if entries else ()
    for one, record in zip(entries, records, strict=True):
        if record is None:
            continue
        try:
            body = results.open(record.id, record.body) if one.has_follow_ups or one.opened.derived else None
        except EnvelopeError as exc:
            _log.error("task %s: its stored result is passed over: %s", record.id.hex(), exc)
        else:
            if body is None or not _left_behind(one, body):
                found[record.id] = record
    return found


def _left_behind(one: LeasedMessage, body: ResultBody) -> bool:
    """Return whether that is no end of this task's: it waits for no others, and never came to a run.

    A link before it stopped the chain, and has been requeued since.
    """
    waits = one.tail is not None and one.tail.gathered is not None
    return body.kind == Kind.SKIPPED.value and not body.attempts and not waits


def gather(entries: Sequence[LeasedMessage], store: ResultStore) -> dict[bytes, Mapping[int, bytes]]:
    """Return what the tasks that messages waited for have left, by the message's id."""
    found: dict[bytes, Mapping[int, bytes]] = {}
    for one in entries:
        if one.tail is not None and one.tail.gathered is not None and one.tail.gathered.count:
            key = key_of(one.tail.gathered.flow)
            found[one.opened.id] = store.notes.barrier_members(key) if store.notes is not None else {}
    return found


def bind_upstream_results(one: LeasedMessage, results: Results, brought: Mapping[int, bytes]) -> str:
    """Find what a message is given of tasks that ended before; return why it is not to be run."""
    if one.tail is not None:
        try:
            one.upstream_args = upstream_args(results, one.tail, brought)
        except (UpstreamFailed, EnvelopeError) as exc:
            return str(exc)
    return ""


def rejected(delivery: Delivery, exc: EnvelopeError, rules: Rules) -> Settlement:
    """Return what becomes of a message that is not to be read."""
    kind = Kind.UNKNOWN_KEY if isinstance(exc, UnknownKey) else Kind.REJECTED
    reason = f"{type(exc).__name__}: {exc}"
    decision = decide(
        kind,
        rules,
        deliveries=delivery.deliveries,
        failures=delivery.failures,
        crashes=delivery.crashes,
        reason=reason,
    )
    if decision.action is Action.DEAD_LETTER:
        _log.error("a message of %d bytes is buried unread: %s", len(delivery.body), reason)
    else:
        _log.warning("a message is put back for %.3g s: %s", decision.delay, reason)
    return Settlement(
        delivery.receipt,
        decision.action,
        decision.delay,
        decision.reason,
        decision.failures,
        decision.crashes,
    )

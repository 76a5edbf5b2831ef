"""A leased message, and whether it may run."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import EnvelopeError
from qcore.flows.continuation import KEPT, UpstreamFailed, upstream_args
from qcore.journal.records import HeldMessage
from qcore.messages.workflow import barrier_key, read_workflow
from qcore.model import Kind, Outcome, State
from qcore.settle import decide, redelivery_limit_reason
from qcore_cells.suspects import split
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.errors import BackendRejected
    from qcore.interfaces import ResultStore
    from qcore.messages.envelope import Opened
    from qcore.messages.results import ResultBody, Results
    from qcore.messages.workflow import WorkflowHeader
    from qcore.model import Delivery, StoredResult
    from qcore.settle import Decision
    from qcore.status import Progress
    from qcore.tasks.plan import TaskPlan
    from qcore_process.connection_pool import ConnectionPool


_log = logging.getLogger("qcore.worker")


class LeasedMessage:
    """One verified message of a batch and the plan to run it."""

    __slots__ = (
        "acknowledged",
        "crashes",
        "deliveries",
        "failures",
        "has_follow_ups",
        "opened",
        "plan",
        "receipt",
        "suspected",
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
        #: how often its worker died while it ran beside others
        self.suspected = 0
        #: it was acknowledged before it began
        self.acknowledged = False
        self.tail: WorkflowHeader | None = None
        #: follow-up messages are enqueued between its result and its acknowledgement
        self.has_follow_ups = plan.hooked
        if opened.tail:
            self.tail = read_workflow(opened.tail)
            self.has_follow_ups = True
        #: returns the values that are passed before its arguments; None = there are none
        self.upstream_args: Callable[[], Sequence[Any]] | None = None

    def tell_suspicions(self) -> None:
        """Tell its crashes from its suspicions, which a broker keeps as one number."""
        self.crashes, self.suspected = split(self.crashes)

    @property
    def runs_alone(self) -> bool:
        """Whether nothing may run beside it in its worker; its plan has its function."""
        return bool(self.suspected or self.crashes or self.plan.alone or self.plan.once)

    @property
    def may_be_cancelled(self) -> bool:
        """Whether a user may have cancelled it already: it came before, or has had a handle since."""
        if self.deliveries > 1:
            return True
        return self.opened.derived and (self.tail is None or self.tail.final_result is None)


def journal_records(messages: Sequence[LeasedMessage]) -> list[HeldMessage]:
    """Return what the supervisor must know about messages."""
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
        for one in messages
    ]


def skip_reason(
    one: LeasedMessage,
    before: StoredResult | None,
    delivery: Delivery,
    clock: Callable[[], float],
    *,
    renew: bool,
) -> tuple[Kind | None, str]:
    """Return why a message must not run, None if it may.

    Args:
        one: the message.
        before: the stored result of an earlier run.
        delivery: its delivery.
        clock: returns the epoch seconds by which an expiry is judged.
        renew: leases are extended while a task runs.

    """
    if before is not None and before.state is State.SUCCESS:
        # Without renewal Django-Q's rule holds: a message that was ready again before the success
        # was stored is run. At its first delivery, a message with a success was enqueued twice.
        known = one.opened.derived if one.deliveries == 1 else not 0 < delivery.available < before.finished
        if known or (renew and one.deliveries > 1):
            return Kind.ALREADY_SUCCEEDED, ""
    elif before is not None and before.state is State.FAILED and one.deliveries > 1:
        # At its first delivery this cannot be known: it may have been requeued since.
        return Kind.ALREADY_FAILED, ""
    if one.opened.expires and one.opened.expires < (now := clock()) * 1000:
        late = now - one.opened.expires / 1000
        return Kind.EXPIRED, f"it expired {counted(round(late, 1), 'second')} before a worker leased it"
    if one.deliveries == 1:
        return None, ""
    if 0 < one.plan.rules.max_crashes <= one.crashes and one.plan.call is None:
        # The task's declaration may allow more.
        one.plan.find()
    why = redelivery_limit_reason(
        one.plan.rules,
        deliveries=one.deliveries - one.suspected,
        failures=one.failures,
        crashes=one.crashes,
    )
    return (Kind.CRASH, why) if why else (None, "")


def previous_results(
    messages: Sequence[LeasedMessage], store: ResultStore, results: Results
) -> dict[bytes, StoredResult]:
    """Return the stored results of these messages' tasks, by id.

    Where follow-up messages are made from a result, its signature is verified first.
    """
    found = {}
    records = store.get([one.opened.id for one in messages]) if messages else ()
    for one, record in zip(messages, records, strict=True):
        if record is None:
            continue
        try:
            body = results.open(record.id, record.body) if one.has_follow_ups or one.opened.derived else None
        except EnvelopeError as exc:
            _log.error("task %s: its stored result is ignored: %s", record.id.hex(), exc)
        else:
            if body is None or not _skipped_by_chain(one, body):
                found[record.id] = record
    return found


def restore_counters(
    messages: Sequence[LeasedMessage], stored: Mapping[bytes, StoredResult], results: Results
) -> None:
    """Take failures and crashes of messages from their stored results, where the broker keeps none."""
    for one in messages:
        record = stored.get(one.opened.id)
        if record is None or record.state is not State.RETRYING:
            continue
        try:
            body = results.open(record.id, record.body)
        except EnvelopeError as exc:
            _log.error("task %s: the counters in its stored result are ignored: %s", record.id.hex(), exc)
        else:
            one.failures = max(one.failures, body.attempts)
            one.crashes = max(one.crashes, body.crashes)


def _skipped_by_chain(one: LeasedMessage, body: ResultBody) -> bool:
    """Return whether a stored result only says that an earlier link stopped the chain.

    That link has been requeued since, so this task may run after all. A callback is different: it
    is skipped because of the group it waits for.
    """
    waits = one.tail is not None and one.tail.gathered is not None
    return body.kind == Kind.SKIPPED.value and not body.attempts and not waits


def upstream_results(
    messages: Sequence[LeasedMessage], stores: ConnectionPool[CoordinationStore]
) -> dict[bytes, Mapping[int, bytes]]:
    """Return the sealed results of the group members that messages waited for, by the message's id."""
    found: dict[bytes, Mapping[int, bytes]] = {}
    for one in messages:
        if one.tail is not None and one.tail.gathered is not None and one.tail.gathered.count:
            with stores.connection() as store:
                found[one.opened.id] = store.barrier_members(barrier_key(one.tail.gathered.flow))
    return found


def bind_upstream_results(
    one: LeasedMessage, results: Results, members: Mapping[int, bytes]
) -> tuple[Kind | None, str]:
    """Attach the results that a message is called with; return why it must not run, None if it may."""
    if one.tail is not None:
        try:
            one.upstream_args = upstream_args(results, one.tail, members)
        except UpstreamFailed as exc:
            return exc.kind, str(exc)
        except EnvelopeError as exc:
            return Kind.SKIPPED, str(exc)
    return None, ""


def keep_gathered(message: LeasedMessage, outcome: Outcome) -> Outcome:
    """Return a failure, which makes a dead letter, for one that was given results and returned too much.

    The dead letter keeps them for a run with a larger `max_result`; any other task has done its work.
    """
    gathered = None if message.tail is None else message.tail.gathered
    rules = message.plan.rules
    lost = message.acknowledged or rules.ack_failures or not rules.redelivers
    if outcome.kind is not Kind.RESULT_NOT_STORABLE or gathered is None or not gathered.count or lost:
        return outcome
    text = (
        f"{outcome.error}; the {counted(gathered.count, 'result')} that it was given are kept for "
        f"{KEPT / 86400:.0f} days: raise max_result, restart the cluster and run "
        f"`{typed('dead-letters requeue')} {message.opened.id.hex()}`"
    )
    return msgspec.structs.replace(outcome, kind=Kind.FAILURE, error=text)


def judge(one: LeasedMessage, outcome: Outcome) -> Decision:
    """Return what becomes of a message whose run did not succeed."""
    return decide(
        outcome.kind,
        one.plan.rules,
        deliveries=one.deliveries,
        failures=one.failures,
        crashes=one.crashes,
        retryable=outcome.retryable,
        chance=random.random(),  # noqa: S311 - jitter
        reason=outcome.error,
        delay=outcome.delay,
    )


def rejected_outcome(exc: BackendRejected) -> Outcome:
    """Return how a run ended that could not begin because a store rejected what it was asked."""
    return Outcome.unrun(Kind.FAILURE, f"{type(exc).__name__}: {exc}")


def seal_result(  # noqa: PLR0917 - what a record is made of
    results: Results,
    one: LeasedMessage,
    state: State,
    outcome: Outcome,
    value: bytes,
    attempts: int,
    progress: Progress | None = None,
) -> StoredResult:
    """Return how a message ended as the result store keeps it."""
    return results.seal(
        one.opened.id,
        one.plan.head,
        state,
        outcome,
        value,
        created=one.opened.created,
        attempts=attempts,
        crashes=one.crashes,
        progress=progress,
        message=one.opened,
    )

"""The messages one worker holds: from leased to settled."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from qcore.errors import BackendUnavailable, EnvelopeError
from qcore.flows.commit import Committer, again, expiring_success
from qcore.flows.continuation import ContinuationBuilder, wants_value
from qcore.hookspecs import RejectedEvent
from qcore.journal.records import FinishedMessage
from qcore.messages.control import ControlFlags
from qcore.messages.results import forget_failures
from qcore.model import Action, Delivery, Kind, Outcome, Settlement, State
from qcore.schedules.quarantine import quarantine_schedule
from qcore.settle import Decision, decide
from qcore.workers import leased
from qcore.workers.events import SettledEvents, log_failed, log_skipped
from qcore.workers.lease_check import LeaseDeadline, undecided
from qcore.workers.leased import LeasedMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.messages.workflow import FollowUp
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.tasks.plan import Planner

_log = logging.getLogger("qcore.worker")


class Batch:
    """Verifies, notes down, and settles; knows nothing of how tasks are run."""

    def __init__(
        self, runtime: Runtime, broker: Broker, store: ResultStore, planner: Planner, page: Page
    ) -> None:
        self._runtime = runtime
        self._open = runtime.envelope.open
        self._store = store
        self._continuation = ContinuationBuilder(runtime, broker.capabilities.max_bytes)
        self._writer = Committer(broker, store, self._continuation)
        #: a message that is not settled comes back
        self._lasting = broker.capabilities.receipts
        self._planner = planner
        self._page = page
        self._renew = runtime.config.renew_leases
        self._tenure = LeaseDeadline(runtime.config, broker)
        self._marks = ControlFlags(runtime.control_sealer)
        self._events = SettledEvents(runtime.hooks("qcore_settled"))
        self._on_rejected = runtime.hooks("qcore_rejected")
        self._entries: list[LeasedMessage] = []
        #: of this batch: settled by now, and finished by now
        self._settled = 0
        self.ended = 0
        self._settlements: list[Settlement] = []
        self._results: list[StoredResult] = []
        #: settlements of messages that never came to be entries
        self._rejected: list[Settlement] = []
        #: what follows from these, and from the other settlements, by their places
        self._skipped: list[tuple[int, FollowUp]] = []
        self._follow_ups: list[tuple[int, FollowUp, StoredResult]] = []
        #: ids of tasks that failed at their first delivery and will run again
        self._retrying: list[bytes] = []
        #: epoch seconds when this batch was taken
        self._taken = 0.0

    def take(self, deliveries: Sequence[Delivery]) -> Sequence[LeasedMessage]:
        """Verify leased messages and note them down; what must not run is settled unrun.

        Raises:
            BackendUnavailable: the result store does not answer; nothing is done, call it again.

        """
        entries = []
        strange: list[tuple[Delivery, EnvelopeError]] = []
        back = False
        cached = self._planner.cached
        for delivery in deliveries:
            try:
                opened = self._open(delivery.body)
                plan = cached(opened.head) or self._planner.plan(opened.head)
                entries.append(LeasedMessage(delivery, opened, plan))
            except EnvelopeError as exc:
                strange.append((delivery, exc))
                continue
            if delivery.deliveries > 1 or opened.expires or opened.derived or opened.tail:
                back = True
        if back:
            entries = self._fit_to_run(entries, {one.receipt: one for one in deliveries})
        for delivery, fault in strange:
            self._reject(delivery, fault)
        while not self._page.hold(leased.journal_records(entries), time.monotonic_ns()):
            keep = len(entries) // 2
            self._rejected += [Settlement(one.receipt, Action.RELEASE) for one in entries[keep:]]
            entries = entries[:keep]
        self._entries = entries
        self._taken = time.time()
        self._settled = self.ended = 0
        return entries

    def _reject(self, delivery: Delivery, exc: EnvelopeError) -> None:
        settlement = leased.rejected(delivery, exc, self._planner.rules)
        self._rejected.append(settlement)
        if settlement.action is Action.DEAD_LETTER:
            for hook in self._on_rejected:
                hook(RejectedEvent(reason=settlement.reason, size=len(delivery.body)))

    def _fit_to_run(self, entries: list[LeasedMessage], came: dict[bytes, Delivery]) -> list[LeasedMessage]:
        """Leave out what has expired, what already ended, and what nobody survives."""
        again = [one for one in entries if one.deliveries > 1 or one.opened.derived]
        before = leased.stored(again, self._store, self._runtime.results)
        brought = leased.gather(entries, self._store)
        cancelled = self._marks.cancelled(self._store, [x.opened.id for x in again if x.may_be_cancelled])
        now = time.time()
        fit = []
        seen: set[bytes] = set()
        for one in entries:
            if one.opened.derived and one.opened.id in seen:
                # It was enqueued twice: how its twin ends is known when it comes again.
                self._rejected.append(Settlement(one.receipt, Action.RELEASE))
                continue
            seen.add(one.opened.id)
            found = before.get(one.opened.id)
            kind, text = leased.skip_reason(one, found, came[one.receipt], now, renew=self._renew)
            upstream = brought.get(one.opened.id, {})
            if kind is None and (text := leased.bind_upstream_results(one, self._runtime.results, upstream)):
                kind = Kind.SKIPPED
            if kind is None and one.opened.id in cancelled:
                kind, text = Kind.CANCELLED, "TaskCancelled: the task was called off"
            if kind is None:
                fit.append(one)
            else:
                self._end_unrun(one, kind, text, now, found)
        return fit

    def _end_unrun(
        self, one: LeasedMessage, kind: Kind, text: str, now: float, found: StoredResult | None
    ) -> None:
        log_skipped(one, text or kind.value)
        decision = decide(kind, one.plan.rules)
        if kind is Kind.CRASH:
            # Worn out: it is buried whatever its budget says.
            decision = Decision(Action.DEAD_LETTER, State.FAILED, reason=text)
        action, state, reason = decision.action, decision.state, decision.reason
        if state is not None:
            outcome = Outcome(kind, error=text, started=now, finished=now)
            found = self._record(one, state, outcome, b"", one.failures, one.crashes)
            self._results.append(found)
        if one.has_follow_ups and found is not None and (one.deliveries > 1 or state is not None):
            # Of one that ended before: whoever ran it may have died before he had done this.
            # Of one that was only enqueued twice, whoever holds the other one does it.
            then = self._continuation.after(one.plan.head, one.tail, found, one.opened.created)
            self._skipped.append((len(self._rejected), then))
            if kind is Kind.ALREADY_FAILED and reason:
                reason = f"{reason}: {self._runtime.results.open(found.id, found.body).error}"
        self._rejected.append(Settlement(one.receipt, action, 0.0, reason, one.failures, one.crashes))
        self._events.add(one, action, kind, reason)

    def finish(self, index: int, entry: LeasedMessage, outcome: Outcome) -> bool:
        """Note how a message ended; return False if it is to be settled before the next."""
        self.ended = index + 1
        value = b""
        plan = entry.plan
        save = plan.save
        if outcome.kind is Kind.SUCCESS:
            if not save and not entry.has_follow_ups:
                self._settlements.append(Settlement(entry.receipt))
                if self._events.wanted:
                    self._events.add(entry, Action.ACK, outcome.kind, "")
                return True
            if save or wants_value(plan.head, entry.tail):
                outcome, value = self._runtime.results.dump(outcome)
        if outcome.kind is Kind.SUCCESS:
            settlement = Settlement(entry.receipt)
            state: State | None = State.SUCCESS
            if self._events.wanted:
                self._events.add(entry, Action.ACK, outcome.kind, "")
        else:
            settlement, state = self._settle_failed(entry, outcome)
        result = then = None
        has_follow_ups = False
        if state is not None:
            result = self._record(entry, state, outcome, value, entry.failures + 1, entry.crashes)
            has_follow_ups = entry.has_follow_ups and state is not State.RETRYING
            if state is State.SUCCESS and not save:
                result = expiring_success(result)
            else:
                self._results.append(result)
            if has_follow_ups:
                then = self._continuation.after(entry.plan.head, entry.tail, result, entry.opened.created)
                self._follow_ups.append((len(self._settlements), then, result))
        self._settlements.append(settlement)
        kept = None if self._lasting else then
        if self._page.note(FinishedMessage(index, settlement, result, kept, has_follow_ups)):
            return True
        # Its record does not fit. It is settled before the next begins; if we die over that, it
        # must not pass for one that needs no record, and not be tried for ever either.
        again = Settlement(entry.receipt, Action.RETRY, failures=entry.failures, crashes=entry.crashes + 1)
        self._page.note(FinishedMessage(index, again))
        return False

    def _settle_failed(self, entry: LeasedMessage, outcome: Outcome) -> tuple[Settlement, State | None]:
        if self._tenure.over(self._page.look().leased, self._page.orders.renewed):
            _log.warning("task %s failed, but its lease was over: not told", entry.opened.id.hex())
            return undecided(entry.receipt, entry.failures, entry.crashes), None
        if entry.plan.missing and entry.plan.head.schedule:
            outcome = quarantine_schedule(self._runtime, entry.opened, entry.plan, outcome, entry.failures)
        decision = decide(
            outcome.kind,
            entry.plan.rules,
            deliveries=entry.deliveries,
            failures=entry.failures,
            crashes=entry.crashes,
            retryable=outcome.retryable,
            chance=random.random(),  # noqa: S311 - jitter
            reason=outcome.error,
        )
        log_failed(entry, outcome, decision)
        if decision.state is State.RETRYING and entry.deliveries == 1:
            self._retrying.append(entry.opened.id)
        reason = decision.reason
        if decision.action is Action.DEAD_LETTER and outcome.kind is not Kind.REJECTED:
            reason = f"{reason}: {outcome.error}"
        self._events.add(entry, decision.action, outcome.kind, reason)
        settlement = Settlement(
            entry.receipt, decision.action, decision.delay, reason, decision.failures, decision.crashes
        )
        # The message was ours and its producer waits: undecodable arguments are told as a failure.
        state = State.FAILED if outcome.kind is Kind.REJECTED else decision.state
        return settlement, state

    def defer(self, index: int, entry: LeasedMessage, seconds: float) -> bool:
        """Note that a message is not to run yet, which was no attempt; False if there is no room to."""
        settlement = Settlement(entry.receipt, Action.RELEASE, seconds)
        if not self._page.note(FinishedMessage(index, settlement)):
            # Unnoted it would pass for one that needs nothing but an ACK.
            return False
        self.ended = index + 1
        self._settlements.append(settlement)
        return True

    def release_untaken(self, deliveries: Sequence[Delivery]) -> None:
        """Release messages that could not be taken."""
        self._rejected += [Settlement(one.receipt, Action.RELEASE) for one in deliveries]

    def release_unstarted(self) -> None:
        """Release what was not begun."""
        for one in self._entries[self.ended :]:
            self._rejected.append(Settlement(one.receipt, Action.RELEASE))

    def settle(self, limit: int) -> Sequence[Delivery]:
        """Save results, settle what ended, and lease up to `limit` more, in one exchange.

        Raises:
            BackendUnavailable: nothing is forgotten; call it again.
            BackendRejected: some of it will never be taken; `abandon` leaves it.

        """
        if self._retrying:
            forget_failures(self._store, self._retrying, before=self._taken)
            self._retrying = []
        # What the supervisor settled for us while a task ran long is not settled again.
        self._page.orders.await_flush(self._page.seq)
        skip = max(0, self._page.flushed() - self._settled)
        settlements = self._settlements[skip:] + self._rejected
        follow_ups = [then for at, then, _ in self._follow_ups if at >= skip]
        follow_ups += [then for _, then in self._skipped]
        try:
            deliveries = self._writer.write(self._results, follow_ups, settlements, limit)
        except BackendUnavailable:
            self._leave_open()
            raise
        self._forget()
        if self._events.wanted:
            self._events.flush()
        return deliveries

    def abandon(self) -> int:
        """Let what ended come back when its lease ends; return how many messages that are."""
        count = len(self._settlements) + len(self._rejected)
        self._forget()
        self._events.clear()
        return count

    def _forget(self) -> None:
        self._settled = self.ended
        self._page.settled(self.ended)
        self._settlements, self._results, self._rejected = [], [], []
        self._follow_ups, self._skipped = [], []

    def _leave_open(self) -> None:
        """Have what something follows from presented once more: that may be enqueued, or not."""
        if self._lasting:
            for place, _, record in self._follow_ups:
                self._settlements[place] = again(self._settlements[place])
                self._results.append(record)
            for place, _ in self._skipped:
                self._rejected[place] = again(self._rejected[place])
            self._follow_ups, self._skipped = [], []

    def _record(  # noqa: PLR0917 - what a record is made of
        self, one: LeasedMessage, state: State, outcome: Outcome, value: bytes, attempts: int, crashes: int
    ) -> StoredResult:
        return self._runtime.results.seal(
            one.opened.id,
            one.plan.head,
            state,
            outcome,
            value,
            created=one.opened.created,
            attempts=attempts,
            crashes=crashes,
        )

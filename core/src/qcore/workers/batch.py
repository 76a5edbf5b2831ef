"""The messages one worker has leased: from leased to settled."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from qcore.compared import KIND_SUCCESS, STATE_SUCCESS
from qcore.errors import BackendRejected, BackendUnavailable, EnvelopeError, MalformedMessage
from qcore.flows.commit import Committer, expiring_success
from qcore.flows.completion import Completion, completions_of
from qcore.flows.continuation import ContinuationBuilder, wants_value
from qcore.flows.emulation import counts_in_results
from qcore.hookspecs import RejectedEvent
from qcore.journal.records import FinishedMessage
from qcore.messages.saving import forget_failures
from qcore.model import Action, Delivery, Kind, Outcome, Settlement, State
from qcore.schedules.quarantine import quarantine_schedule
from qcore.settle import RELEASE, fail_for_good, redeliver, release_after
from qcore.wording import reason
from qcore.workers import leased
from qcore.workers.events import SettledEvents, log_failed
from qcore.workers.lease_check import LeaseDeadline
from qcore.workers.leased import LeasedMessage
from qcore.workers.rejections import Rejections
from qcore.workers.reports import RunReports
from qcore.workers.screening import Screening
from qcore_reports.log_limit import LogLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.tasks.execute import Raised
    from qcore.tasks.plan import Planner

_log = logging.getLogger("qcore.worker")


class Batch:
    """Verifies messages, records them in the journal and settles them; tasks are run elsewhere."""

    def __init__(
        self, runtime: Runtime, broker: Broker, store: ResultStore, planner: Planner, page: Page
    ) -> None:
        self._runtime = runtime
        self._open = runtime.envelope.open
        self._results = runtime.results
        self._store = store
        self._continuation = ContinuationBuilder(runtime, broker.capabilities.max_bytes)
        self._committer = Committer(broker, store, self._continuation)
        #: a message that is not settled is redelivered
        self._redelivers = broker.capabilities.redelivers
        self._capabilities = broker.capabilities
        #: whether copies of messages that have ended are to be found
        self._remembers = bool(runtime.config.settings().replay_window)
        self._planner = planner
        self._page = page
        self._lease = LeaseDeadline(runtime.config, broker)
        self._events = SettledEvents(runtime.hooks("qcore_settled"), page.tallies)
        runtime.reporters.on_count = page.metrics.count_reports
        #: returns what the last run raised
        self.take_raised: Callable[[], Raised | None] = lambda: None
        #: every message is checked: its failures and crashes are in its stored result
        counted = self._counts_in_results = counts_in_results(broker)
        #: logs messages that are not executed, one line for a kind and second
        self.rejections = LogLimit(_log, 1.0)
        self._reports = RunReports(runtime.reporters, self.rejections)
        self._screening = Screening(
            runtime, store, self._continuation, self._events, self._reports, counts_in_results=counted
        )
        self._on_rejected = runtime.hooks("qcore_rejected")
        self._rejected = Rejections(runtime.config, planner.rules, broker.capabilities, self.rejections)
        self._messages: list[LeasedMessage] = []
        #: how many of the batch are settled, and how many have finished
        self._settled = 0
        self.ended = 0
        #: what is to be written of messages in the journal from `_settled` on; a message that stands
        #: there by itself is only acknowledged
        self._finished: list[Completion | LeasedMessage] = []
        #: what is to be written of messages that did not run
        self._unrun: list[Completion] = []
        #: ids of tasks that failed at their first delivery and will run again
        self._retrying: list[bytes] = []
        #: receipts whose settlement the broker refused in the last call
        self.refused: frozenset[bytes] = frozenset()
        #: epoch seconds when this batch was leased
        self._leased = 0.0

    def accept(self, deliveries: Sequence[Delivery]) -> Sequence[LeasedMessage]:
        """Verify leased messages and record them in the journal; settle those that must not run.

        Raises:
            BackendUnavailable: the result store does not answer; nothing is done, call it again.

        """
        messages = []
        malformed: list[tuple[Delivery, EnvelopeError]] = []
        needs_check = self._counts_in_results and bool(deliveries)
        cached = self._planner.cached
        for delivery in deliveries:
            try:
                opened = self._open(delivery.body)
                plan = cached(opened.head) or self._planner.plan(opened.head)
                messages.append(LeasedMessage(delivery, opened, plan))
            except EnvelopeError as exc:
                malformed.append((delivery, exc))
                continue
            except Exception as exc:  # noqa: BLE001 - whatever a broker hands out ends no worker
                malformed.append((delivery, MalformedMessage(f"it cannot be read: {reason(exc)}")))
                continue
            if delivery.deliveries > 1 or opened.expires or opened.derived or opened.tail:
                needs_check = True
        ids = [one.opened.id for one in messages] if self._remembers else []
        ended = self._committer.ended(ids) if ids else ()
        if needs_check or ended or len(set(ids)) < len(ids):
            self._page.metrics.count_redeliveries(sum(one.deliveries > 1 for one in deliveries))
            messages = self._screening.runnable(messages, deliveries, self._unrun, ended)
        for delivery, fault in malformed:
            self._reject(delivery, fault)
        while not self._page.write_batch(leased.journal_records(messages), time.monotonic_ns()):
            half = len(messages) // 2
            self.release(messages[half:])
            messages = messages[:half]
        self._messages = messages
        self._leased = time.time()
        self._settled = self.ended = 0
        return messages

    def _reject(self, delivery: Delivery, exc: EnvelopeError) -> None:
        decision = self._rejected.decide(delivery, exc)
        self._unrun.append(Completion(decision.settlement(delivery.receipt)))
        if decision.action is not Action.RETRY:
            self._reports.rejected(decision.reason)
            for hook in self._on_rejected:
                hook(RejectedEvent(reason=decision.reason, size=len(delivery.body)))

    def release(self, messages: Sequence[LeasedMessage] | Sequence[Delivery]) -> None:
        """Release messages, without a charge, with the next `settle`."""
        self._unrun += [Completion(RELEASE.settlement(one.receipt)) for one in messages]

    def finish(self, index: int, message: LeasedMessage, outcome: Outcome) -> bool:
        """Record how a message ended; return False if it must be settled before the next begins."""
        self.ended = index + 1
        if outcome.kind is KIND_SUCCESS:
            plan = message.plan
            if not (plan.save or message.has_follow_ups or message.acknowledged):
                plan.successes += 1
                plan.seconds += outcome.finished - outcome.started
                self._finished.append(self._acknowledged(message) if self._events.wanted else message)
                return True
            value = b""
            if plan.save or message.acknowledged or wants_value(plan.head, message.tail):
                outcome, value = self._results.dump(outcome, plan.declared)
            if outcome.kind is KIND_SUCCESS:
                plan.successes += 1
                plan.seconds += outcome.finished - outcome.started
                done = self._acknowledged(message)
                return self._record(index, message, done, STATE_SUCCESS, outcome, value)
        outcome = leased.keep_gathered(message, outcome)
        done, state = self._fail(message, outcome)
        return self._record(index, message, done, state, outcome, b"")

    def _acknowledged(self, message: LeasedMessage) -> Completion:
        id_ = message.opened.id
        event = self._events.event(id_, message.plan.name, Action.ACK, Kind.SUCCESS)
        return Completion(Settlement(message.receipt, id=id_), event=event)

    def _record(  # noqa: PLR0917 - what a record is made of
        self,
        index: int,
        message: LeasedMessage,
        done: Completion,
        state: State | None,
        outcome: Outcome,
        value: bytes,
    ) -> bool:
        """Complete what is written of a message and record it in the journal; False if that is full."""
        result = None
        has_follow_ups = False
        if state is not None:
            progress, attempts = self._page.last_progress(), message.failures + 1
            result = leased.seal_result(self._results, message, state, outcome, value, attempts, progress)
            has_follow_ups = message.has_follow_ups and state.final
            if state is STATE_SUCCESS and not message.plan.save:
                result = expiring_success(result)
            if message.acknowledged or message.plan.save or state is not STATE_SUCCESS:
                done.result = result
            if has_follow_ups:
                done.reopened_result = result
                done.follow_up = self._continuation.after(
                    message.plan.head, message.tail, result, message.opened.created
                )
        self._finished.append(done)
        settlement = done.settlement or Settlement(message.receipt)
        journalled = done.follow_up if message.acknowledged or not self._redelivers else None
        if message.acknowledged:
            done.settlement = None
        if self._page.add_finished(FinishedMessage(index, settlement, result, journalled, has_follow_ups)):
            return True
        if message.acknowledged:
            # The journal says that it has begun, and that counts until it is settled.
            return False
        # The record does not fit into the page, so the message is settled before the next begins.
        # If this process dies meanwhile, the message must not pass for one that needs no record,
        # and must not be tried for ever either.
        again = redeliver(message.failures, message.crashes + 1).settlement(message.receipt)
        self._page.add_finished(FinishedMessage(index, again))
        return False

    def _fail(self, message: LeasedMessage, outcome: Outcome) -> tuple[Completion, State | None]:
        """Return what is written of a message whose run did not succeed, and the state of its result."""
        raised = self.take_raised()
        if not message.acknowledged and self.lease_expired():
            text = "task %s failed after its lease had expired: nothing is reported"
            _log.warning(text, message.opened.id.hex())
            decision = redeliver(message.failures, message.crashes)
            return Completion(decision.settlement(message.receipt)), None
        if message.plan.missing and message.plan.head.schedule:
            outcome = quarantine_schedule(
                self._runtime, message.opened, message.plan, outcome, message.failures
            )
        if message.acknowledged or outcome.kind is Kind.INTERRUPTED:
            decision = fail_for_good(message.failures, message.crashes)
        else:
            decision = leased.judge(message, outcome)
        log_failed(message, outcome, decision)
        self._reports.failed(message, outcome, decision, raised)
        if decision.state is State.RETRYING and message.deliveries == 1:
            self._retrying.append(message.opened.id)
        # The message was signed with our key and its producer waits for a result: arguments that
        # cannot be decoded are a failure.
        state: State | None = State.FAILED
        if outcome.kind is not Kind.REJECTED:
            state, decision = decision.state, decision.because(outcome.error)
        event = self._events.ended(message, outcome, decision)
        return Completion(decision.settlement(message.receipt, message.opened.id), event=event), state

    def lease_expired(self) -> bool:
        """Return whether another worker may have the batch's messages by now."""
        return self._lease.expired(self._page.snapshot().leased, self._page.commands.renewed)

    def acknowledge(self, message: LeasedMessage, record: StoredResult) -> None:
        """Have the next `settle` acknowledge a message before it begins, and store that it has begun."""
        message.acknowledged = True
        self._unrun.append(Completion(Settlement(message.receipt, id=message.opened.id), record))

    def defer(self, index: int, message: LeasedMessage, seconds: float) -> bool:
        """Release a message that must not run yet, uncounted; return False if the journal has no room."""
        settlement = release_after(seconds).settlement(message.receipt)
        if not self._page.add_finished(FinishedMessage(index, settlement)):
            # Without a record it would pass for one that needs nothing but an ACK.
            return False
        self.ended = index + 1
        self._finished.append(Completion(settlement))
        return True

    def release_unstarted(self) -> None:
        """Release the messages that have not begun."""
        self.release(self._messages[self.ended :])

    def settle(self, limit: int) -> Sequence[Delivery]:
        """Save results, settle what has ended, and lease up to `limit` more, in one exchange.

        If the broker refuses a part of it, messages are settled one by one and nothing is leased.
        Only a refused message comes back when its lease ends.

        Raises:
            BackendUnavailable: nothing is forgotten; call it again.

        """
        if self._retrying:
            try:
                forget_failures(self._store, self._retrying, before=self._leased)
            except BackendRejected as exc:
                _log.warning("earlier failures of requeued tasks stay stored: %s", exc)
            self._retrying = []
        # What the supervisor settled for this worker during a long task is not settled again.
        self._page.commands.await_flush(self._page.seq)
        flushed = max(0, self._page.flushed() - self._settled)
        finished = self._finished[flushed:]
        acks = [Settlement(m.receipt, id=m.opened.id) for m in finished if isinstance(m, LeasedMessage)]
        completions = [*(completions_of(finished) if len(acks) < len(finished) else ()), *self._unrun]
        self.refused = frozenset()
        try:
            deliveries = self._committer.commit(completions, limit, acks)
        except BackendUnavailable:
            self._reopen()
            raise
        except BackendRejected:
            deliveries = ()
            self._commit_each([*completions, *map(Completion, acks)])
        if self._events.wanted:
            self._events.emit([*self._unrun, *completions_of(self._finished)])
        done = self._messages[self._settled : self.ended]
        self._settled = self.ended
        self._page.mark_settled(self.ended)
        self._events.count_successes(done)
        self._finished, self._unrun = [], []
        return deliveries

    def _commit_each(self, completions: Sequence[Completion]) -> None:
        try:
            refused = self._committer.commit_each(completions)
        except BackendUnavailable:
            self._reopen()
            raise
        self.refused = frozenset(one.settlement.receipt for one in refused if one.settlement is not None)
        for one in refused:
            one.event = None

    def _reopen(self) -> None:
        """Have messages with follow-up messages redelivered: those may have been enqueued, or not."""
        if self._redelivers:
            for one in [*completions_of(self._finished), *self._unrun]:
                one.reopen()

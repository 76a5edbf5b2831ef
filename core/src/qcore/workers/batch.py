"""The messages one worker has leased: from leased to settled."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from qcore.compared import KIND_SUCCESS
from qcore.errors import BackendRejected, BackendUnavailable, EnvelopeError, MalformedMessage
from qcore.flows.commit import Committer
from qcore.flows.completion import Completion, completions_of
from qcore.flows.continuation import ContinuationBuilder
from qcore.flows.emulation import counts_in_results
from qcore.hookspecs import RejectedEvent
from qcore.journal.records import FinishedMessage
from qcore.messages.saving import forget_failures
from qcore.model import Action, Delivery, Kind, Outcome, Settlement
from qcore.settle import RELEASE, redeliver, release_after
from qcore.tasks.transaction import TaskTransaction
from qcore.workers import leased
from qcore.workers.ends import Ends
from qcore.workers.events import SettledEvents
from qcore.workers.leased import LeasedMessage
from qcore.workers.rejections import Rejections
from qcore.workers.reports import RunReports
from qcore.workers.screening import Screening
from qcore_counts.tallies import SLOW
from qcore_logs.tasks import TaskLog
from qcore_reports.log_limit import LogLimit
from qcore_text.sanitize import line
from qcore_text.wording import reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
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
        log = TaskLog(runtime.config.name, traces="log" not in runtime.config.error_reporter)
        self.events = SettledEvents(runtime.hooks("qcore_settled"), page.tallies, log)
        #: every message is checked: its failures and crashes are in its stored result
        counted = self._counts_in_results = counts_in_results(broker)
        #: logs messages that are not executed, one line for a kind and second
        self.rejections = LogLimit(_log, 1.0)
        self._reports = RunReports(runtime.reporters, log, self.rejections)
        self.ends = Ends(runtime, broker, page, self._continuation, self.events, self._reports)
        self._screening = Screening(
            runtime, store, self._continuation, self.events, self._reports, counts_in_results=counted
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
        #: receipts whose settlement the broker refused in the last call
        self.refused: frozenset[bytes] = frozenset()
        #: epoch seconds when this batch was leased
        self._leased = 0.0
        #: that of the running task, if it has one
        self.transaction = TaskTransaction(broker, store, self._running)

    def accept(self, deliveries: Sequence[Delivery]) -> Sequence[LeasedMessage]:
        """Verify leased messages and record them in the journal; settle those that must not run.

        Raises:
            BackendUnavailable: the result store does not answer; nothing is done, call it again.

        """
        messages = self.take(self.verify(deliveries))
        self.events.measure_wait(self._page, messages)
        return messages

    def verify(self, deliveries: Sequence[Delivery]) -> list[LeasedMessage]:
        """Return the leased messages that may run; have those settled that must not.

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
        return messages

    def take(self, messages: list[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Record verified messages in the journal; return those that had room, the others are released."""
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
        if self.transaction.is_open:
            if outcome.kind is KIND_SUCCESS:
                return self._commit(index, message, outcome)
            self.transaction.roll_back()
        if outcome.kind is KIND_SUCCESS:
            plan = message.plan
            if not (plan.save or message.has_follow_ups or message.acknowledged):
                plan.successes += 1
                plan.seconds += (seconds := outcome.finished - outcome.started)
                if seconds >= SLOW:
                    plan.slow.append(seconds)
                self._finished.append(
                    self.ends.acknowledged(message, outcome) if self.events.wanted else message
                )
                return True
        return self._record(index, message, *self.ends.of(message, outcome))

    def _commit(self, index: int, message: LeasedMessage, outcome: Outcome) -> bool:
        """Settle a message in the transaction of its task, which nothing else writes to any more."""
        # If this process dies, the message is redelivered, unless it is gone with the commit.
        again = redeliver(message.failures, message.crashes + 1).settlement(message.receipt)
        self._page.add_finished(FinishedMessage(index, again))
        done, result = self.ends.of(message, outcome)
        if done.settlement is None or done.settlement.action is not Action.ACK:
            # Its result cannot be stored, and it is to run again with what it was given.
            self.transaction.roll_back()
            return self._record(index, message, done, result)
        # Follow-up messages are made at its redelivery, from the result that is stored by then.
        done.reopen()
        text = "task %s has lost its lease, so its transaction is rolled back: nothing is reported"
        try:
            committed = self.transaction.commit(done.result, done.settlement)
        except BackendUnavailable as exc:
            committed, text = False, f"task %s may run again, its commit was not answered: {line(str(exc))}"
        except BackendRejected as exc:
            self.ends.recall_success(message, outcome)
            error = f"{type(exc).__name__}: {exc}"
            outcome = Outcome(Kind.FAILURE, error=error, started=outcome.started, finished=time.time())
            return self.finish(index, message, outcome)
        if committed:
            done = Completion(event=done.event)
        else:
            self.ends.recall_success(message, outcome)
            _log.warning(text, message.opened.id.hex())
            # The lease decides: of a message that is gone this changes nothing.
            done = Completion(redeliver(message.failures, message.crashes).settlement(message.receipt))
        self._finished.append(done)
        return False

    def _running(self) -> tuple[bytes, bool]:
        message = self._messages[self._page.position()[1] - 1]
        return message.receipt, message.acknowledged

    def _record(
        self, index: int, message: LeasedMessage, done: Completion, result: StoredResult | None
    ) -> bool:
        """Record what is written of a message in the journal; False if that is full."""
        self._finished.append(done)
        settlement = done.settlement or Settlement(message.receipt)
        journalled = done.follow_up if message.acknowledged or not self._redelivers else None
        has_follow_ups = done.reopened_result is not None
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
        if self.ends.retrying:
            self._forget_failures()
        # What the supervisor settled for this worker during a long task is not settled again.
        self._page.commands.await_flush(self._page.seq)
        flushed = max(0, self._page.flushed() - self._settled)
        deliveries = self._write(self._finished[flushed:], limit)
        if self.events.wanted:
            self.events.emit([*self._unrun, *completions_of(self._finished)])
        done = self._messages[self._settled : self.ended]
        self._settled = self.ended
        self._page.mark_settled(self.ended)
        self.events.count_successes(done)
        self._finished, self._unrun = [], []
        return deliveries

    def _forget_failures(self) -> None:
        try:
            forget_failures(self._store, self.ends.retrying, before=self._leased)
        except BackendRejected as exc:
            _log.warning("earlier failures of requeued tasks stay stored: %s", exc)
        self.ends.retrying = []

    def _write(self, finished: Sequence[Completion | LeasedMessage], limit: int) -> Sequence[Delivery]:
        """Write what has finished and what did not run, and lease up to `limit` more."""
        acks = [Settlement(m.receipt, id=m.opened.id) for m in finished if isinstance(m, LeasedMessage)]
        completions = [*(completions_of(finished) if len(acks) < len(finished) else ()), *self._unrun]
        self.refused = frozenset()
        try:
            return self._committer.commit(completions, limit, acks)
        except BackendUnavailable:
            self._reopen()
            raise
        except BackendRejected:
            self._commit_each([*completions, *map(Completion, acks)])
            return ()

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

"""What is written of a message whose run has ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import attrs

from qcore.compared import ACTION_ACK, KIND_SUCCESS, STATE_SUCCESS
from qcore.flows.commit import expiring_success
from qcore.flows.completion import Completion
from qcore.flows.continuation import wants_value
from qcore.model import Action, Kind, Settlement, State
from qcore.scheduling import scheduler_if_any
from qcore.settle import fail_for_good, redeliver
from qcore.workers import leased
from qcore_cells.suspects import join
from qcore_counts.tallies import SLOW
from qcore_queues.lease_deadline import LeaseDeadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.flows.continuation import ContinuationBuilder
    from qcore.interfaces import Broker
    from qcore.journal.pages import Page
    from qcore.model import Outcome, StoredResult
    from qcore.runtime import Runtime
    from qcore.status import Progress
    from qcore.tasks.execute import Raised
    from qcore.workers.events import SettledEvents
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.reports import RunReports

_log = logging.getLogger("qcore.worker")


class RunJournal(Protocol):
    """What the journal says of the run that has ended."""

    def last_progress(self) -> Progress | None:
        """Return what it has reported."""

    def lease_times(self) -> tuple[int, int]:
        """Return when it was leased and its lease last extended, monotonic nanoseconds, 0 = not yet."""


class Ends:
    """Decides result, follow-up messages and settlement of messages, and reports failures."""

    def __init__(  # noqa: PLR0917 - the parts of a batch
        self,
        runtime: Runtime,
        broker: Broker,
        page: Page,
        continuation: ContinuationBuilder,
        events: SettledEvents,
        reports: RunReports,
    ) -> None:
        self._runtime = runtime
        self._results = runtime.results
        #: what the journal says of the run that has ended
        self.journal: RunJournal = page
        self._continuation = continuation
        self._events = events
        self._reports = reports
        self._lease = LeaseDeadline(
            runtime.config.retry, renewed=runtime.config.renew_leases and broker.capabilities.extend
        )
        #: returns what the last run raised
        self.take_raised: Callable[[], Raised | None] = lambda: None
        #: ids of tasks that failed at their first delivery and will run again
        self.retrying: list[bytes] = []

    def of(self, message: LeasedMessage, outcome: Outcome) -> tuple[Completion, StoredResult | None]:
        """Return what is written of a message, and its result."""
        plan = message.plan
        value = b""
        if outcome.kind is KIND_SUCCESS and (
            plan.save or message.acknowledged or wants_value(plan.head, message.tail)
        ):
            outcome, value = self._results.dump(outcome, plan.declared)
        if outcome.kind is KIND_SUCCESS:
            plan.successes += 1
            plan.seconds += (seconds := outcome.finished - outcome.started)
            if seconds >= SLOW:
                plan.slow.append(seconds)
            state: State = STATE_SUCCESS
            done = self.acknowledged(message, outcome)
        else:
            value = b""
            outcome = leased.keep_gathered(message, outcome)
            done, failed = self._fail(message, outcome)
            if failed is None:
                return done, None
            state = failed
        progress, attempts = self.journal.last_progress(), message.failures + 1
        result = leased.seal_result(self._results, message, state, outcome, value, attempts, progress)
        if state is not STATE_SUCCESS or plan.save:
            done.result = result
        else:
            result = expiring_success(result)
            if message.acknowledged:
                done.result = result
        if message.has_follow_ups and state.final:
            done.reopened_result = result
            done.follow_up = self._continuation.after(plan.head, message.tail, result, message.opened.created)
        return done, result

    def acknowledged(self, message: LeasedMessage, outcome: Outcome) -> Completion:
        """Return the acknowledgement of a message whose run has succeeded."""
        id_ = message.opened.id
        event = None
        if self._events.wanted:
            seconds, attempt = outcome.finished - outcome.started, message.failures + 1
            event = self._events.event(id_, message.plan.name, ACTION_ACK, KIND_SUCCESS, "", attempt, seconds)
        return Completion(Settlement(message.receipt, id=id_), event=event)

    def _fail(self, message: LeasedMessage, outcome: Outcome) -> tuple[Completion, State | None]:
        """Return what is written of a message whose run did not succeed, and the state of its result."""
        raised = self.take_raised()
        if not message.acknowledged and self.lease_expired():
            text = "task %s failed after its lease had expired: nothing is reported"
            _log.warning(text, message.opened.id.hex())
            decision = redeliver(message.failures, message.crashes)
            return Completion(decision.settlement(message.receipt)), None
        if message.plan.missing and message.plan.head.schedule:
            outcome = self._quarantined(message, outcome)
        if message.acknowledged or outcome.kind is Kind.INTERRUPTED:
            decision = fail_for_good(message.failures, message.crashes)
        else:
            decision = leased.judge(message, outcome)
        if message.suspected and decision.action is Action.RETRY:
            # Lest the deliveries that its suspicions took count as if it had never ended.
            decision = attrs.evolve(decision, crashes=join(message.crashes, message.suspected))
        self._reports.failed(message, outcome, decision, raised)
        if decision.state is State.RETRYING and message.deliveries == 1:
            self.retrying.append(message.opened.id)
        # The message was signed with our key and its producer waits for a result: arguments that
        # cannot be decoded are a failure.
        state: State | None = State.FAILED
        if outcome.kind is not Kind.REJECTED:
            state, decision = decision.state, decision.because(outcome.error)
        event = self._events.ended(message, outcome, decision)
        return Completion(decision.settlement(message.receipt, message.opened.id), event=event), state

    def recall_success(self, message: LeasedMessage, outcome: Outcome) -> None:
        """Do not count a success that could not be committed."""
        if outcome.kind is KIND_SUCCESS and message.plan.successes:
            message.plan.successes -= 1
            message.plan.seconds -= (seconds := outcome.finished - outcome.started)
            if seconds in message.plan.slow:
                message.plan.slow.remove(seconds)

    def lease_expired(self) -> bool:
        """Return whether another worker may have the batch's messages by now."""
        return self._lease.expired(*self.journal.lease_times())

    def _quarantined(self, message: LeasedMessage, outcome: Outcome) -> Outcome:
        """Disable the schedule whose function this worker cannot find; return how the run has ended."""
        scheduler = scheduler_if_any(self._runtime.plugins)
        if scheduler is None:
            return outcome
        return scheduler.quarantine(self._runtime, message.opened, message.plan, outcome, message.failures)

"""Which leased messages may run, and how the others end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.flows.completion import Completion
from qcore.model import Kind, Outcome
from qcore.settle import ACKNOWLEDGE, RELEASE, dead_letter, decide
from qcore.workers.events import log_skipped
from qcore.workers.leased import (
    bind_upstream_results,
    judge,
    previous_results,
    rejected_outcome,
    restore_counters,
    seal_result,
    skip_reason,
    upstream_results,
)
from qcore_queues.flags import ControlFlags, cancel_key

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.flows.continuation import ContinuationBuilder
    from qcore.interfaces import ResultStore
    from qcore.model import Delivery, StoredResult
    from qcore.runtime import Runtime
    from qcore.workers.events import SettledEvents
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.reports import RunReports


_log = logging.getLogger("qcore.worker")


class Screening:
    """Checks messages that were delivered before, expire, or belong to a flow."""

    def __init__(
        self,
        runtime: Runtime,
        store: ResultStore,
        continuation: ContinuationBuilder,
        events: SettledEvents,
        reports: RunReports,
        *,
        counts_in_results: bool,
    ) -> None:
        self._results = runtime.results
        self._clock = runtime.clock.now
        self._renew = runtime.config.renew_leases
        self._control = ControlFlags(runtime.control_sealer)
        self._store = store
        self._counts_in_results = counts_in_results
        self._coordination = runtime.coordination_stores
        self._continuation = continuation
        self._events = events
        self._reports = reports

    def runnable(
        self,
        messages: Sequence[LeasedMessage],
        deliveries: Sequence[Delivery],
        unrun: list[Completion],
        ended: Collection[bytes] = (),
    ) -> list[LeasedMessage]:
        """Return the messages that may run; add the others to `unrun`, skipped, released or failed.

        Args:
            messages: of one lease.
            deliveries: of the same lease.
            unrun: gets what does not run.
            ended: ids under which another copy of a message was acknowledged.

        Raises:
            BackendUnavailable: the result store does not answer; nothing was added, call it again.

        """
        before = len(unrun)
        try:
            return self._runnable(messages, deliveries, unrun, ended)
        except BackendRejected as exc:
            _log.warning("leased messages are checked one by one: %s", exc)
        found = []
        for one in messages:
            try:
                found += self._runnable([one], deliveries, unrun, ended)
            except BackendRejected as exc:
                unrun.append(self._failed(one, exc))
            except BackendUnavailable:
                del unrun[before:]
                raise
        return found

    def _runnable(
        self,
        messages: Sequence[LeasedMessage],
        deliveries: Sequence[Delivery],
        unrun: list[Completion],
        ended: Collection[bytes],
    ) -> list[LeasedMessage]:
        by_receipt = {one.receipt: one for one in deliveries}
        known = [
            one for one in messages if one.deliveries > 1 or one.opened.derived or self._counts_in_results
        ]
        stored = previous_results(known, self._store, self._results)
        if self._counts_in_results:
            restore_counters(known, stored, self._results)
        for one in known:
            one.tell_suspicions()
        members = upstream_results(messages, self._coordination)
        keys = {one.opened.id: cancel_key(one.opened.id) for one in known if one.may_be_cancelled}
        with self._coordination.connection() as store:
            flagged = self._control.genuine(store, list(keys.values()))
        runnable = []
        seen: set[bytes] = set()
        for one in messages:
            if one.opened.id in seen:
                # It was enqueued twice. How its duplicate ended is known when it is delivered again.
                unrun.append(Completion(RELEASE.settlement(one.receipt)))
                continue
            seen.add(one.opened.id)
            before = stored.get(one.opened.id)
            kind, text = skip_reason(one, before, by_receipt[one.receipt], self._clock, renew=self._renew)
            if kind is None and one.opened.id in ended and (self._renew or one.deliveries == 1):
                # Without renewal Django-Q's rule holds: a redelivery may overlap the run before it.
                kind, text = Kind.REPLAYED, "another copy of its message has ended"
            upstream = members.get(one.opened.id, {})
            if kind is None and keys.get(one.opened.id) in flagged:
                kind, text = Kind.CANCELLED, "TaskCancelled: the task was cancelled"
            if kind is None:
                kind, text = bind_upstream_results(one, self._results, upstream)
            if kind is None:
                runnable.append(one)
            else:
                unrun.append(self._skip(one, kind, text, before))
        return runnable

    def _failed(self, one: LeasedMessage, exc: BackendRejected) -> Completion:
        """Return what is written of a message that a store could not be asked about: it has failed."""
        outcome = rejected_outcome(exc)
        decision = judge(one, outcome).because(outcome.error)
        self._reports.failed(one, outcome, decision)
        event = self._events.ended(one, outcome, decision)
        result = follow_up = None
        if decision.state is not None:
            result = seal_result(self._results, one, decision.state, outcome, b"", one.failures + 1)
            if one.has_follow_ups and decision.state.final:
                follow_up = self._continuation.after(one.plan.head, one.tail, result, one.opened.created)
        return Completion(decision.settlement(one.receipt), result, follow_up, result, event)

    def _skip(self, one: LeasedMessage, kind: Kind, text: str, stored: StoredResult | None) -> Completion:
        """Return what is written of a message that must not run."""
        log_skipped(self._reports.lines, one, kind, text)
        # What was skipped because of another task may be enqueued again, once that one was requeued.
        id_ = b"" if kind is Kind.SKIPPED else one.opened.id
        if kind is Kind.CRASH:
            decision = dead_letter(text, one.failures, one.crashes)
            self._reports.failed(one, Outcome.unrun(kind, f"WorkerDied: {text}"), decision)
        elif kind is Kind.ALREADY_FAILED and one.plan.once:
            # As a dead letter it could be requeued and run a second time.
            decision = ACKNOWLEDGE
        else:
            decision = decide(kind, one.plan.rules, failures=one.failures, crashes=one.crashes)
        result = None
        if decision.state is not None:
            outcome = Outcome.unrun(kind, text)
            stored = result = seal_result(self._results, one, decision.state, outcome, b"", one.failures)
        follow_up = None
        if one.has_follow_ups and stored is not None and (one.deliveries > 1 or result is not None):
            # Whoever ran it may have died before enqueueing its follow-up messages. If it was only
            # enqueued twice, whoever holds the other copy enqueues them.
            follow_up = self._continuation.after(one.plan.head, one.tail, stored, one.opened.created)
            if kind is Kind.ALREADY_FAILED:
                decision = decision.because(self._results.open(stored.id, stored.body).error)
        action, reason, queue = decision.action, decision.reason, one.plan.head.queue
        event = self._events.event(one.opened.id, one.plan.name, action, kind, reason, queue=queue)
        return Completion(decision.settlement(one.receipt, id_), result, follow_up, result, event)

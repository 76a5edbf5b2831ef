"""What is written of messages that end in any order."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from qcore.compared import KIND_SUCCESS
from qcore.errors import BackendRejected
from qcore.flows.completion import completions_of
from qcore.journal.records import FinishedMessage
from qcore.messages.saving import forget_failures
from qcore.model import Settlement, State
from qcore.workers.batch import Batch
from qcore_counts.tallies import SLOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.flows.completion import Completion
    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.model import Delivery, Outcome
    from qcore.runtime import Runtime
    from qcore.tasks.plan import Planner
    from qcore.workers.leased import LeasedMessage
    from qcore_at_once.cell_runs import CellRun

_log = logging.getLogger("qcore.worker")


class SharedBatch(Batch):
    """A batch whose messages need not end in the order of their lease."""

    def __init__(
        self, runtime: Runtime, broker: Broker, store: ResultStore, planner: Planner, page: Page
    ) -> None:
        super().__init__(runtime, broker, store, planner, page)
        #: ids of requeued tasks that will run again, each with the epoch seconds of its lease
        self._to_forget: list[tuple[float, list[bytes]]] = []
        #: how many have succeeded, by name, queue and the seconds for which they had waited
        self._waits: Counter[tuple[str, str | None, float]] = Counter()

    @property
    def redelivers(self) -> bool:
        """Whether a message that is released comes back."""
        return self._redelivers

    @property
    def has_unrun(self) -> bool:
        """Whether something is to be written of messages that did not run."""
        return bool(self._unrun)

    def finish_one(self, run: CellRun, outcome: Outcome) -> Completion | LeasedMessage:
        """Record how a task ended; return what is to be written of it."""
        message, cells = run.message, self._page.cells
        if outcome.kind is KIND_SUCCESS:
            plan = message.plan
            if not (plan.save or message.has_follow_ups):
                plan.successes += 1
                plan.seconds += (seconds := outcome.finished - outcome.started)
                if seconds >= SLOW:
                    plan.slow.append(seconds)
                self._waits[plan.name, plan.head.queue, run.waited] += 1
                cells.succeed(run.cell)
                return self.ends.acknowledged(message, outcome) if self.events.wanted else message
        self.events.waited = run.waited
        self.ends.journal, self.ends.take_raised, before = run, run.take_raised, self.ends.take_raised
        try:
            done, result = self.ends.of(message, outcome)
        finally:
            self.ends.journal, self.ends.take_raised = self._page, before
        if result is not None and result.state is State.SUCCESS:
            self._waits[message.plan.name, message.plan.head.queue, run.waited] += 1
        if self.ends.retrying:
            self._to_forget.append((run.leased, self.ends.retrying))
            self.ends.retrying = []
        settlement = done.settlement or Settlement(message.receipt)
        follow_up = None if self._redelivers else done.follow_up
        again = done.reopened_result is not None
        cells.end(run.cell, FinishedMessage(run.cell, settlement, result, follow_up, again))
        return done

    def settle_finished(
        self, finished: list[Completion | LeasedMessage], messages: Sequence[LeasedMessage], limit: int
    ) -> Sequence[Delivery]:
        """Save results, settle what has ended, and lease up to `limit` more, in one exchange.

        Args:
            finished: what is to be written.
            messages: those of whose successes it is.
            limit: most messages to be leased.

        Raises:
            BackendUnavailable: nothing is forgotten; call it again.

        """
        while self._to_forget:
            leased, ids = self._to_forget[-1]
            try:
                forget_failures(self._store, ids, before=leased)
            except BackendRejected as exc:
                _log.warning("earlier failures of requeued tasks stay stored: %s", exc)
            self._to_forget.pop()
        self._finished = finished
        deliveries = self._write(finished, limit)
        if self.events.wanted:
            self.events.emit([*self._unrun, *completions_of(finished)])
        self.events.count_each_wait(messages, self._waits)
        self._waits.clear()
        self._finished, self._unrun = [], []
        return deliveries

"""What is stored and told of runs that ended without their worker."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from qcore.interfaces import ErrorReport
from qcore.model import Kind
from qcore.tasks.plan import Planner
from qcore.workers.events import SettledEvents
from qcore_counts.tallies import TALLIES, Tallies
from qcore_logs.tasks import TaskLog

if TYPE_CHECKING:
    from qcore.hookspecs import SettledEvent
    from qcore.journal.records import HeldMessage
    from qcore.model import Outcome, StoredResult
    from qcore.runtime import Runtime
    from qcore.settle import Decision
    from qcore.status import Progress
    from qcore.supervision.deaths import Death
    from qcore.tasks.plan import TaskPlan


class DeadEnds:
    """Makes results, events and reports of such runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        config = runtime.config
        self._planner = Planner(
            runtime.rules(), timeout=config.timeout, save=runtime.save_successes, allowed=config.tasks_allowed
        )
        self._reporters = runtime.reporters
        #: tasks that ended without a worker
        self.tallies = Tallies(memoryview(bytearray(TALLIES)))
        self._log = TaskLog(config.name, traces="log" not in config.error_reporter)
        self._events = SettledEvents(runtime.hooks("qcore_settled"), self.tallies, self._log)

    def close(self) -> None:
        """Let error reporters send what they have buffered."""
        self._reporters.flush()

    def _event(
        self, held: HeldMessage, plan: TaskPlan, outcome: Outcome, decision: Decision
    ) -> SettledEvent | None:
        seconds, attempt = outcome.finished - outcome.started, held.failures + 1
        action, reason = decision.action, decision.reason
        kind, queue = outcome.kind, plan.head.queue
        return self._events.event(held.id, plan.name, action, kind, reason, attempt, seconds, queue=queue)

    def _report(
        self,
        held: HeldMessage,
        plan: TaskPlan,
        outcome: Outcome,
        decision: Decision,
        gone: Death | None,
    ) -> None:
        attempt, text = held.failures + 1, outcome.error
        if outcome.kind is Kind.CANCELLED or decision.state is not None:
            settled = decision.settlement(held.receipt)
            self._log.failed(held.id.hex(), plan.name, attempt, outcome, settled)
        if outcome.kind is not Kind.CANCELLED and decision.state is not None:
            report = ErrorReport(
                task=plan.task_info(held, attempt),
                kind=outcome.kind.value,
                summary=text,
                text=f"{outcome.traceback}\n{text}".strip(),
                action=decision.action.name.lower(),
                stack=tuple(gone.stack) if gone else (),
                worker=f"{socket.gethostname()}:{gone.pid}" if gone else "",
            )
            self._reporters.report(report)

    def _seal(
        self,
        held: HeldMessage,
        plan: TaskPlan,
        outcome: Outcome,
        decision: Decision,
        progress: Progress | None,
    ) -> StoredResult | None:
        if decision.state is None:
            return None
        return self._runtime.results.seal(
            held.id,
            plan.head,
            decision.state,
            outcome,
            b"",
            created=held.created,
            attempts=max(decision.failures, held.failures),
            crashes=decision.crashes,
            progress=progress,
        )

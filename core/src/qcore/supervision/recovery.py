"""What becomes of the messages of dead and of busy workers."""

from __future__ import annotations

import logging
import random
import socket
import time
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import BackendRejected
from qcore.flows.commit import Committer
from qcore.flows.completion import Completion, redeliver_after_result
from qcore.flows.continuation import ContinuationBuilder
from qcore.interfaces import ErrorReport
from qcore.journal.records import HeldMessage
from qcore.journal.tallies import TALLIES, Tallies
from qcore.messages.head import read_head
from qcore.messages.saving import forget_failures
from qcore.messages.workflow import read_workflow
from qcore.model import Kind, Outcome, State
from qcore.settle import ACKNOWLEDGE, RELEASE, decide, fail_for_good, redeliver
from qcore.tasks.limits import limit_of, release
from qcore.tasks.outcomes import interruption
from qcore.tasks.plan import Planner
from qcore.workers.events import SettledEvents
from qcore.workers.lease_check import LeaseDeadline
from qcore_logs.tasks import TaskLog
from qcore_reports.frames import format_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.hookspecs import SettledEvent
    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.journal.records import FinishedMessage, PageSnapshot
    from qcore.messages.results import Begun, ResultBody
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.settle import Decision
    from qcore.status import Progress
    from qcore.supervision.slot import Slot, WorkerExit
    from qcore.tasks.plan import TaskPlan

_log = logging.getLogger("qcore.maintenance")

#: Seconds a worker is given to notice that its waiting messages were taken from it.
_SETTLE_DOWN: Final = 0.002


class Recovery:
    """Settles for a worker that cannot: it is dead, or busy with a long task."""

    def __init__(self, runtime: Runtime, connect: Callable[[], tuple[Broker, ResultStore]]) -> None:
        self._runtime = runtime
        self._connect = connect
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

    def recover(self, gone: WorkerExit) -> None:
        """Settle the messages of a dead worker."""
        if gone.crashed and gone.seen.running < 0:
            self._reporters.trouble(f"WorkerDied: {gone.death}, and it ran no task")
        held, finished = gone.left
        recorded = {one.index: one for one in finished}
        seen = gone.seen
        self._events.count_recovered(held, recorded, seen, gone.acknowledged[0])
        completions = []
        for index in range(seen.settled, len(held)):
            if index in recorded:
                completions.append(_completion(recorded[index]))
            elif index == gone.acknowledged[0]:
                completions.append(self._complete_acknowledged(held[index], gone))
            elif index == seen.running:
                completions.append(self._complete_running(held[index], gone))
            else:
                decision = ACKNOWLEDGE if index < seen.begun else RELEASE
                completions.append(Completion(decision.settlement(held[index].receipt, held[index].id)))
        self._commit(completions, held, seen)
        if permits := self._permits(held[seen.settled :]):
            with self._runtime.coordination_stores.connection() as store:
                release(store, permits)
        self._connect()[0].release_owner(gone.owner)

    def _permits(self, held: Sequence[HeldMessage]) -> list[tuple[str, bytes]]:
        """Return the concurrency permits that messages may hold because they were running."""
        limits = [(limit_of(read_head(one.head)), one.id) for one in held]
        return [(limit.permit_key, id_) for limit, id_ in limits if limit is not None and limit.concurrency]

    def _complete_running(self, held: HeldMessage, gone: WorkerExit) -> Completion:
        """Return what becomes of the message that was running when its worker died."""
        kind, text = _outcome_of_running(gone)
        broker = self._connect()[0]
        lease = LeaseDeadline(self._runtime.config, broker)
        if kind is not Kind.INTERRUPTED and lease.expired(gone.seen.leased, gone.renewed):
            _log.warning("task %s died after its lease had expired; its next run decides", held.id.hex())
            return Completion(redeliver(held.failures, held.crashes).settlement(held.receipt))
        plan = self._planner.build(read_head(held.head))
        if gone.max_crashes is not None:
            plan.rules = attrs.evolve(plan.rules, max_crashes=gone.max_crashes)
        decision = decide(
            kind,
            plan.rules,
            deliveries=held.deliveries,
            failures=held.failures,
            crashes=held.crashes,
            chance=random.random(),  # noqa: S311 - jitter
        ).because(text)
        outcome = _outcome(gone, kind, text)
        self._report(held, plan, outcome, decision, gone)
        settlement = decision.settlement(held.receipt, held.id)
        if held.has_follow_ups and decision.state is State.FAILED and broker.capabilities.redelivers:
            # The follow-up messages are made from the message itself, which is not here.
            settlement = redeliver_after_result(settlement)
        return Completion(
            settlement,
            self._seal(held, plan, outcome, decision, gone.progress),
            event=self._event(held, plan, outcome, decision),
        )

    def _complete_acknowledged(self, held: HeldMessage, gone: WorkerExit) -> Completion:
        """Return what becomes of a message that was acknowledged before it began: it never runs again."""
        kind, text = _outcome_of_running(gone)
        crashes = held.crashes + (kind is Kind.CRASH)
        if kind in {Kind.CRASH, Kind.INTERRUPTED}:
            why = "its worker was stopped" if gone.killed else gone.death
            kind, text = Kind.INTERRUPTED, f"Interrupted: {why}; it is not run again"
        held = msgspec.structs.replace(held, crashes=crashes)
        return self._fail_for_good(held, gone.acknowledged[1], _outcome(gone, kind, text), gone)

    def _fail_for_good(
        self, held: HeldMessage, tail: bytes, outcome: Outcome, gone: WorkerExit | None
    ) -> Completion:
        plan = self._planner.build(read_head(held.head))
        decision = fail_for_good(held.failures, held.crashes)
        self._report(held, plan, outcome, decision, gone)
        record = self._seal(held, plan, outcome, decision, gone.progress if gone else None)
        follow_up = None
        if record is not None and (tail or plan.hooked):
            continuation = self._continuation()
            header = read_workflow(tail) if tail else None
            follow_up = continuation.after(plan.head, header, record, held.created)
        event = self._event(held, plan, outcome, decision)
        return Completion(decision.settlement(held.receipt), record, follow_up, event=event)

    def _event(
        self, held: HeldMessage, plan: TaskPlan, outcome: Outcome, decision: Decision
    ) -> SettledEvent | None:
        seconds, attempt = outcome.finished - outcome.started, held.failures + 1
        action, reason = decision.action, decision.reason
        return self._events.event(held.id, plan.name, action, outcome.kind, reason, attempt, seconds)

    def interrupt(self, stored: StoredResult, body: ResultBody, begun: Begun, text: str) -> None:
        """End a task that has begun and whose cluster is dead: its message is gone.

        What follows from it comes first, because its record says until the end that this is not done.
        """
        created = int(body.enqueued * 1000)
        held = HeldMessage(b"", stored.id, begun.head, 1, body.attempts, body.crashes, created)
        outcome = Outcome(Kind.INTERRUPTED, error=text, started=body.started, finished=time.time())
        done = self._fail_for_good(held, begun.tail, outcome, None)
        broker, store = self._connect()
        try:
            Committer(broker, store, self._continuation()).commit([Completion(follow_up=done.follow_up)], 0)
        except BackendRejected as exc:
            _log.error("what follows task %s is refused: %s", stored.id.hex(), exc)
        if done.result is not None and store.get([stored.id])[0] == stored:
            store.save([done.result])
            self._events.emit([done])

    def _report(
        self,
        held: HeldMessage,
        plan: TaskPlan,
        outcome: Outcome,
        decision: Decision,
        gone: WorkerExit | None,
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
                stack=gone.stack if gone else (),
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

    def flush(self, page: Page, pid: int, slot: Slot, seen: PageSnapshot) -> None:
        """Settle what a worker busy with a long task has finished; release what it has not begun."""
        page.commands.flush(seen.seq)
        try:
            # The worker announces that it moves on before it checks for a flush.
            time.sleep(_SETTLE_DOWN)
            self._flush(page, pid, slot, seen)
        finally:
            page.commands.flush(None)

    def _flush(self, page: Page, pid: int, slot: Slot, seen: PageSnapshot) -> None:
        now = page.snapshot()
        if slot.pid != pid or (now.position, now.ended) != (seen.position, seen.ended):
            # The worker has moved on, and itself releases what it must not begin.
            return
        left = page.read(now)
        if left is None:
            return
        held, finished = left
        recorded: dict[int, FinishedMessage] = {one.index: one for one in finished}
        completions = []
        for index in range(now.settled, now.ended):
            record = recorded.get(index)
            if record is None:
                completions.append(Completion(ACKNOWLEDGE.settlement(held[index].receipt, held[index].id)))
            else:
                completions.append(_completion(record))
        completions += [Completion(RELEASE.settlement(one.receipt)) for one in held[now.begun :]]
        if completions:
            self._commit(completions, held, now)
            page.mark_flushed(now.seq, now.ended)

    def _continuation(self) -> ContinuationBuilder:
        return ContinuationBuilder(self._runtime, self._connect()[0].capabilities.max_bytes)

    def _commit(
        self, completions: Sequence[Completion], held: Sequence[HeldMessage], seen: PageSnapshot
    ) -> None:
        """Write all of it in the order that loses nothing; a refused settlement stays alone."""
        self._forget_failures(completions, held, seen)
        committer = Committer(*self._connect(), self._continuation())
        try:
            committer.commit(completions, 0)
        except BackendRejected:
            for refused in committer.commit_each(completions):
                refused.event = None
        self._events.emit(completions)

    def _forget_failures(
        self, completions: Sequence[Completion], held: Sequence[HeldMessage], seen: PageSnapshot
    ) -> None:
        """Forget the old failures of requeued tasks that will run again, as a worker does."""
        first = {one.id for one in held if one.deliveries == 1}
        results = [one.result for one in completions if one.result is not None]
        retrying = [one.id for one in results if not one.state.final and one.id in first]
        if retrying:
            leased = time.time() - (time.monotonic_ns() - seen.leased) / 1e9
            try:
                forget_failures(self._connect()[1], retrying, before=leased)
            except BackendRejected as exc:
                _log.warning("earlier failures of requeued tasks stay stored: %s", exc)


def _completion(ended: FinishedMessage) -> Completion:
    """Return a recorded end; its follow-up messages may have to wait for a redelivery."""
    settlement = ended.settlement
    if ended.has_follow_ups and ended.follow_up is None:
        settlement = redeliver_after_result(settlement)
    return Completion(settlement, ended.result, ended.follow_up)


def _outcome(gone: WorkerExit, kind: Kind, text: str) -> Outcome:
    now = time.time()
    started = now - max(0.0, time.monotonic() - gone.seen.started / 1e9)
    return Outcome(kind, None, text, format_stack(gone.stack), started=started, finished=now)


def _outcome_of_running(gone: WorkerExit) -> tuple[Kind, str]:
    """Return how the run ended that died with its worker, and the text of its error."""
    position = gone.seen.position
    if gone.cancelled == position:
        # However the worker died, this task was to end.
        return Kind.CANCELLED, interruption(Kind.CANCELLED, 0.0)
    if gone.killed == "timeout" and position == gone.killed_for:
        return Kind.TIMEOUT, interruption(Kind.TIMEOUT, (gone.seen.deadline - gone.seen.started) / 1e9)
    if gone.killed:
        # The worker was stopped, or the task it was killed for had just ended: not this task's fault.
        return Kind.INTERRUPTED, ""
    return Kind.CRASH, f"WorkerDied: {gone.death}"

"""What becomes of what dead and busy workers hold."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final

from qcore.flows.commit import Committer, again
from qcore.flows.continuation import ContinuationBuilder
from qcore.hookspecs import SettledEvent
from qcore.messages.envelope import read_head
from qcore.messages.results import forget_failures
from qcore.model import Action, Kind, Outcome, Settlement, State, TaskInfo
from qcore.sanitize import line
from qcore.settle import decide
from qcore.tasks.limits import limit_of, release
from qcore.tasks.plan import Planner
from qcore.workers.lease_check import LeaseDeadline, undecided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.journal.records import FinishedMessage, HeldMessage, PageSnapshot
    from qcore.messages.workflow import FollowUp
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Slot, WorkerExit

_log = logging.getLogger("qcore.caretaker")

#: Seconds a worker is given to see that messages were taken away before they are given back.
_SETTLE_DOWN: Final = 0.002


class Recovery:
    """Settles in the place of a worker that cannot: it is dead, or busy with a long task."""

    def __init__(self, runtime: Runtime, connect: Callable[[], tuple[Broker, ResultStore]]) -> None:
        self._runtime = runtime
        self._connect = connect
        config = runtime.config
        self._planner = Planner(
            runtime.rules(), timeout=config.timeout, save=runtime.save_successes, allowed=config.tasks_allowed
        )
        self._reporters = runtime.reporters()
        self._on_settled = runtime.hooks("qcore_settled")

    def close(self) -> None:
        """Let error reporters send what waits."""
        self._reporters.flush()

    def recover(self, gone: WorkerExit) -> None:
        """Settle what a dead worker held."""
        held, ended = gone.left
        noted = {one.index: one for one in ended}
        results: list[StoredResult] = []
        settlements: list[Settlement] = []
        follow_ups: list[FollowUp] = []
        running = gone.seen.running
        for index in range(gone.seen.settled, len(held)):
            if index in noted:
                settlement, result = _settlement(noted[index]), noted[index].result
                follow_ups += _following(noted[index])
            elif index == running:
                settlement, result = self._settle_running(held[index], gone)
            elif index < gone.seen.begun:
                settlement, result = Settlement(held[index].receipt), None
            else:
                settlement, result = Settlement(held[index].receipt, Action.RELEASE), None
            settlements.append(settlement)
            if result is not None:
                results.append(result)
        self._forget(held, results, gone.seen)
        self._write(results, follow_ups, settlements)
        broker, store = self._connect()
        if store.notes is not None:
            release(store.notes, self._permits(held[gone.seen.settled :]))
        broker.release_owner(gone.owner)

    def _permits(self, held: Sequence[HeldMessage]) -> list[tuple[str, bytes]]:
        """Return the places that messages may hold because they were running."""
        limits = [(limit_of(read_head(one.head)), one.id) for one in held]
        return [(limit.place, id_) for limit, id_ in limits if limit is not None and limit.concurrency]

    def _settle_running(self, held: HeldMessage, gone: WorkerExit) -> tuple[Settlement, StoredResult | None]:
        """Return what becomes of the message that was running when its worker died."""
        kind, text = self._kind_of_death(held, gone)
        tenure = LeaseDeadline(self._runtime.config, self._connect()[0])
        if kind is not Kind.INTERRUPTED and tenure.over(gone.seen.leased, gone.renewed):
            _log.warning("task %s died after its lease was over; its next run decides", held.id.hex())
            return undecided(held.receipt, held.failures, held.crashes), None
        plan = self._planner.outline(read_head(held.head))
        decision = decide(
            kind,
            plan.rules,
            deliveries=held.deliveries,
            failures=held.failures,
            crashes=held.crashes,
            chance=random.random(),  # noqa: S311 - jitter
        )
        task_id = held.id.hex()
        if kind is Kind.CANCELLED:
            _log.warning("task %s (%s): %s", task_id, line(plan.name), line(text))
        elif kind is not Kind.INTERRUPTED:
            _log.error(
                "task %s (%s): %s; %s", task_id, line(plan.name), line(text), decision.action.name.lower()
            )
            self._reporters.report(
                TaskInfo(id=task_id, name=plan.name, group=plan.head.group, attempt=held.failures + 1),
                None,
                text,
            )
        reason = f"{decision.reason}: {text}" if decision.action is Action.DEAD_LETTER else ""
        self._emit(task_id, plan.name, decision.action, kind, reason)
        result = None
        if decision.state is not None:
            now = time.time()
            started = now - max(0.0, time.monotonic() - gone.seen.started / 1e9)
            result = self._runtime.results.seal(
                held.id,
                plan.head,
                decision.state,
                Outcome(kind, error=text, started=started, finished=now),
                b"",
                created=held.created,
                attempts=max(decision.failures, held.failures),
                crashes=decision.crashes,
            )
        settlement = Settlement(
            held.receipt, decision.action, decision.delay, reason, decision.failures, decision.crashes
        )
        redelivers = self._connect()[0].capabilities.receipts
        if held.has_follow_ups and decision.state is State.FAILED and redelivers:
            # What follows stands in the message, which we do not have.
            settlement = again(settlement)
        return settlement, result

    def _emit(self, task_id: str, name: str, action: Action, kind: Kind, reason: str) -> None:
        """Tell the hooks what becomes of the message."""
        for hook in self._on_settled:
            event = SettledEvent(
                task_id=task_id, name=name, action=action.name.lower(), kind=kind.value, reason=reason
            )
            hook(event)

    def _kind_of_death(self, held: HeldMessage, gone: WorkerExit) -> tuple[Kind, str]:
        place = (gone.seen.seq, gone.seen.begun)
        if gone.cancelled == place:
            # However it died: it was to end.
            return Kind.CANCELLED, "TaskCancelled: the task was called off while it ran"
        if gone.killed == "timeout":
            if place == gone.killed_for:
                seconds = (gone.seen.deadline - gone.seen.started) / 1e9
                return (
                    Kind.TIMEOUT,
                    f"TaskTimeout: the task ran longer than its timeout of {seconds:g} seconds",
                )
        if gone.killed:
            # It was stopped, or the task it was killed for had just ended: this one is innocent.
            return Kind.INTERRUPTED, ""
        del held
        return Kind.CRASH, f"WorkerDied: {gone.death}"

    def flush(self, page: Page, pid: int, slot: Slot, seen: PageSnapshot) -> None:
        """Settle what a worker busy with a long task has finished; give back what it has not begun."""
        page.orders.flush(seen.seq)
        try:
            # The worker says that it goes on before it looks whether we are at it.
            time.sleep(_SETTLE_DOWN)
            self._flush(page, pid, slot, seen)
        finally:
            page.orders.flush(None)

    def _flush(self, page: Page, pid: int, slot: Slot, seen: PageSnapshot) -> None:
        now = page.look()
        if slot.pid != pid or (now.seq, now.begun, now.ended) != (seen.seq, seen.begun, seen.ended):
            # It went on after all, and gives back by itself what it was not to begin.
            return
        left = page.read(now)
        if left is None:
            return
        held, ended = left
        noted: dict[int, FinishedMessage] = {one.index: one for one in ended}
        results: list[StoredResult] = []
        settlements: list[Settlement] = []
        follow_ups: list[FollowUp] = []
        for index in range(now.settled, now.ended):
            one = noted.get(index)
            settlements.append(_settlement(one) if one else Settlement(held[index].receipt))
            if one is not None:
                follow_ups += _following(one)
                if one.result is not None:
                    results.append(one.result)
        settlements += [Settlement(one.receipt, Action.RELEASE) for one in held[now.begun :]]
        if settlements:
            self._forget(held, results, now)
            self._write(results, follow_ups, settlements)
            page.mark_flushed(now.seq, now.ended)

    def _forget(
        self, held: Sequence[HeldMessage], results: Sequence[StoredResult], seen: PageSnapshot
    ) -> None:
        """Forget the old failures of requeued tasks that will run again, as a worker does."""
        first = {one.id for one in held if one.deliveries == 1}
        again = [one.id for one in results if one.state is State.RETRYING and one.id in first]
        if again:
            leased = time.time() - (time.monotonic_ns() - seen.leased) / 1e9
            forget_failures(self._connect()[1], again, before=leased)

    def _write(
        self, results: list[StoredResult], follow_ups: list[FollowUp], settlements: list[Settlement]
    ) -> None:
        """Save, enqueue what follows, then settle: the order that loses nothing."""
        broker, store = self._connect()
        continuation = ContinuationBuilder(self._runtime, broker.capabilities.max_bytes)
        Committer(broker, store, continuation).write(results, follow_ups, settlements, 0)


def _settlement(ended: FinishedMessage) -> Settlement:
    return again(ended.settlement) if ended.has_follow_ups and ended.then is None else ended.settlement


def _following(ended: FinishedMessage) -> Sequence[FollowUp]:
    return () if ended.then is None else (ended.then,)

"""What becomes of what dead and busy workers hold."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final

from qcore.flows.continuation import Continuation
from qcore.flows.writing import Writer, again
from qcore.harmless import line
from qcore.hookspecs import SettledEvent
from qcore.messages.envelope import read_head
from qcore.messages.results import forget_failures
from qcore.model import Action, Kind, Outcome, Settlement, State, Task
from qcore.settle import decide
from qcore.tasks.limits import limit_of, release
from qcore.tasks.plan import Planner
from qcore.workers.tenure import Tenure, undecided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.held import Ended, Held, Snapshot
    from qcore.journal.pages import Page
    from qcore.messages.tail import Then
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Gone, Slot

_log = logging.getLogger("qcore.caretaker")

#: Seconds a worker is given to see that messages were taken away before they are given back.
_SETTLE_DOWN: Final = 0.002


class Rescuer:
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

    def rescue(self, gone: Gone) -> None:
        """Settle what a dead worker held."""
        held, ended = gone.left
        noted = {one.index: one for one in ended}
        results: list[StoredResult] = []
        settlements: list[Settlement] = []
        thens: list[Then] = []
        running = gone.seen.running
        for index in range(gone.seen.settled, len(held)):
            if index in noted:
                settlement, result = _settlement(noted[index]), noted[index].result
                thens += _following(noted[index])
            elif index == running:
                settlement, result = self._fell(held[index], gone)
            elif index < gone.seen.begun:
                settlement, result = Settlement(held[index].receipt), None
            else:
                settlement, result = Settlement(held[index].receipt, Action.RELEASE), None
            settlements.append(settlement)
            if result is not None:
                results.append(result)
        self._forget(held, results, gone.seen)
        self._write(results, thens, settlements)
        broker, store = self._connect()
        if store.notes is not None:
            release(store.notes, self._places(held[gone.seen.settled :]))
        broker.reclaim(gone.owner)

    def _places(self, held: Sequence[Held]) -> list[tuple[str, bytes]]:
        """Return the places that messages may hold because they were running."""
        limits = [(limit_of(read_head(one.head)), one.id) for one in held]
        return [(limit.place, id_) for limit, id_ in limits if limit is not None and limit.concurrency]

    def _fell(self, held: Held, gone: Gone) -> tuple[Settlement, StoredResult | None]:
        """Return what becomes of the message that was running when its worker died."""
        kind, text = self._verdict(held, gone)
        tenure = Tenure(self._runtime.config, self._connect()[0])
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
                Task(id=task_id, name=plan.name, group=plan.head.group, attempt=held.failures + 1), None, text
            )
        reason = f"{decision.reason}: {text}" if decision.action is Action.BURY else ""
        for hook in self._on_settled:
            hook(
                SettledEvent(
                    task_id=task_id,
                    name=plan.name,
                    action=decision.action.name.lower(),
                    kind=kind.value,
                    reason=reason,
                )
            )
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
        if held.followed and decision.state is State.FAILED and self._connect()[0].capabilities.receipts:
            # What follows stands in the message, which we do not have.
            settlement = again(settlement)
        return settlement, result

    def _verdict(self, held: Held, gone: Gone) -> tuple[Kind, str]:
        place = (gone.seen.seq, gone.seen.begun)
        if gone.called_off == place:
            # However it died: it was to end.
            return Kind.CANCELLED, "TaskCancelled: the task was called off while it ran"
        if gone.killed == "timeout":
            if place == gone.condemned:
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

    def tend(self, page: Page, pid: int, slot: Slot, seen: Snapshot) -> None:
        """Settle what a worker busy with a long task has finished; give back what it has not begun."""
        page.orders.tend(seen.seq)
        try:
            # The worker says that it goes on before it looks whether we are at it.
            time.sleep(_SETTLE_DOWN)
            self._tend(page, pid, slot, seen)
        finally:
            page.orders.tend(None)

    def _tend(self, page: Page, pid: int, slot: Slot, seen: Snapshot) -> None:
        now = page.look()
        if slot.pid != pid or (now.seq, now.begun, now.ended) != (seen.seq, seen.begun, seen.ended):
            # It went on after all, and gives back by itself what it was not to begin.
            return
        left = page.read(now)
        if left is None:
            return
        held, ended = left
        noted: dict[int, Ended] = {one.index: one for one in ended}
        results: list[StoredResult] = []
        settlements: list[Settlement] = []
        thens: list[Then] = []
        for index in range(now.settled, now.ended):
            one = noted.get(index)
            settlements.append(_settlement(one) if one else Settlement(held[index].receipt))
            if one is not None:
                thens += _following(one)
                if one.result is not None:
                    results.append(one.result)
        settlements += [Settlement(one.receipt, Action.RELEASE) for one in held[now.begun :]]
        if settlements:
            self._forget(held, results, now)
            self._write(results, thens, settlements)
            page.mark_flushed(now.seq, now.ended)

    def _forget(self, held: Sequence[Held], results: Sequence[StoredResult], seen: Snapshot) -> None:
        """Forget the old failures of requeued tasks that will run again, as a worker does."""
        first = {one.id for one in held if one.deliveries == 1}
        again = [one.id for one in results if one.state is State.RETRYING and one.id in first]
        if again:
            leased = time.time() - (time.monotonic_ns() - seen.leased) / 1e9
            forget_failures(self._connect()[1], again, before=leased)

    def _write(self, results: list[StoredResult], thens: list[Then], settlements: list[Settlement]) -> None:
        """Save, enqueue what follows, then settle: the order that loses nothing."""
        broker, store = self._connect()
        continuation = Continuation(self._runtime, broker.capabilities.max_bytes)
        Writer(broker, store, continuation).write(results, thens, settlements, 0)


def _settlement(ended: Ended) -> Settlement:
    return again(ended.settlement) if ended.followed and ended.then is None else ended.settlement


def _following(ended: Ended) -> Sequence[Then]:
    return () if ended.then is None else (ended.then,)

"""What becomes of the messages of dead and of busy workers."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import BackendRejected
from qcore.flows.commit import Committer
from qcore.flows.completion import Completion, redeliver_after_result
from qcore.flows.continuation import ContinuationBuilder
from qcore.flows.emulation import counts_in_results
from qcore.journal.records import HeldMessage
from qcore.messages.head import read_head
from qcore.messages.saving import forget_failures
from qcore.messages.workflow import read_workflow
from qcore.model import Kind, Outcome, State
from qcore.settle import ACKNOWLEDGE, RELEASE, decide, fail_for_good, redeliver
from qcore.supervision.dead_ends import DeadEnds
from qcore.supervision.deaths import death_in_cell, death_of_running, succeeded
from qcore.tasks.limits import limit_of, release
from qcore_cells.cells import CellState
from qcore_cells.suspects import join
from qcore_queues.lease_deadline import LeaseDeadline
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.journal.records import FinishedMessage, PageSnapshot
    from qcore.messages.results import Begun, ResultBody
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.supervision.deaths import Death
    from qcore.supervision.slot import Slot, WorkerExit
    from qcore.tasks.plan import TaskPlan

_log = logging.getLogger("qcore.maintenance")

#: Seconds a worker is given to notice that its waiting messages were taken from it.
_SETTLE_DOWN: Final = 0.002


class Recovery(DeadEnds):
    """Settles for a worker that cannot: it is dead, or busy with a long task."""

    def __init__(self, runtime: Runtime, connect: Callable[[], tuple[Broker, ResultStore]]) -> None:
        super().__init__(runtime)
        self._connect = connect

    def recover(self, gone: WorkerExit) -> None:
        """Settle the messages of a dead worker."""
        if gone.crashed and not gone.running:
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
                completions.append(self._complete_running(held[index], death_of_running(gone)))
            else:
                decision = ACKNOWLEDGE if index < seen.begun else RELEASE
                completions.append(Completion(decision.settlement(held[index].receipt, held[index].id)))
        self._commit(completions, held, seen)
        held = [*held[seen.settled :], *self._recover_cells(gone, {one.receipt for one in held})]
        if permits := self._permits(held):
            with self._runtime.coordination_stores.connection() as store:
                release(store, permits)
        self._connect()[0].release_owner(gone.owner)

    def _recover_cells(self, gone: WorkerExit, done: Collection[bytes]) -> list[HeldMessage]:
        """Settle what a dead worker ran at once, except what was in its batch; return the messages."""
        completions = []
        # A message is in both while it moves from one to the other.
        left = [one for one in gone.cells if one.message.receipt not in done]
        for one in left:
            held, state = one.message, one.cell.state
            if one.ended is not None:
                completions.append(_completion(one.ended))
            elif state == CellState.RUNNING:
                completions.append(self._complete_running(held, death_in_cell(gone, one)))
            elif state == CellState.UNRECORDED:
                completions.append(
                    Completion(redeliver(held.failures, held.crashes).settlement(held.receipt))
                )
            else:
                decision = ACKNOWLEDGE if state == CellState.SUCCEEDED else RELEASE
                completions.append(Completion(decision.settlement(held.receipt, held.id)))
        if gone.crashed and gone.running > 1:
            _log.error(
                "worker %d (pid %d) ran %s at once when it died, and which of them is to blame is not known: "
                "none is charged, and each runs again alone",
                gone.slot,
                gone.pid,
                counted(gone.running, "task"),
            )
        if completions:
            self._events.count_successes_of(one.message for one in left if succeeded(one))
            self._commit(completions, [], gone.seen)
        return [one.message for one in left]

    def _permits(self, held: Sequence[HeldMessage]) -> list[tuple[str, bytes]]:
        """Return the concurrency permits that messages may hold because they were running."""
        limits = [(limit_of(read_head(one.head)), one.id) for one in held]
        return [(limit.permit_key, id_) for limit, id_ in limits if limit is not None and limit.concurrency]

    def _complete_running(self, held: HeldMessage, gone: Death) -> Completion:
        """Return what becomes of a message that was running when its worker died."""
        kind, text = gone.kind, gone.text
        config, broker = self._runtime.config, self._connect()[0]
        lease = LeaseDeadline(config.retry, renewed=config.renew_leases and broker.capabilities.extend)
        if kind is not Kind.INTERRUPTED and lease.expired(gone.leased, gone.renewed):
            _log.warning("task %s died after its lease had expired; its next run decides", held.id.hex())
            return Completion(redeliver(held.failures, held.crashes).settlement(held.receipt))
        plan = self._planner.build(read_head(held.head))
        if gone.suspected and plan.rules.redelivers:
            return self._suspect(held, plan, gone)
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
        outcome = gone.outcome()
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
        death = death_of_running(gone)
        kind, text = death.kind, death.text
        crashes = held.crashes + (kind is Kind.CRASH)
        if kind in {Kind.CRASH, Kind.INTERRUPTED}:
            why = "its worker was stopped" if gone.killed else gone.death
            kind, text = Kind.INTERRUPTED, f"Interrupted: {why}; it is not run again"
        held = msgspec.structs.replace(held, crashes=crashes)
        outcome = death._replace(kind=kind, text=text).outcome()
        return self._fail_for_good(held, gone.acknowledged[1], outcome, death)

    def _suspect(self, held: HeldMessage, plan: TaskPlan, gone: Death) -> Completion:
        """Return what has a message run again alone, because it may have killed its worker, or not."""
        again = redeliver(held.failures, join(held.crashes, 1))
        result = None
        if counts_in_results(self._connect()[0]):
            # There the suspicion is found in the result, like the numbers of failures and crashes.
            kept = attrs.evolve(again, state=State.RETRYING)
            outcome = msgspec.structs.replace(gone.outcome(), kind=Kind.INTERRUPTED)
            result = self._seal(held, plan, outcome, kept, gone.progress)
        kind, queue = Kind.INTERRUPTED, plan.head.queue
        event = self._events.event(held.id, plan.name, again.action, kind, gone.text, queue=queue)
        return Completion(again.settlement(held.receipt), result, event=event)

    def _fail_for_good(
        self, held: HeldMessage, tail: bytes, outcome: Outcome, gone: Death | None
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

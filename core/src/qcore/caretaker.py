"""The supervisor's thread that speaks to the broker: rescue, renewal, status."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.envelope import read_head
from qcore.errors import BackendError, BackendUnavailable
from qcore.hookspecs import SettledEvent
from qcore.journal import WorkerState
from qcore.model import Action, Kind, Outcome, Settlement, State, Task
from qcore.plan import Planner
from qcore.results import forget_failures
from qcore.sealer import STATUS
from qcore.settle import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal import Ended, Held, Page, Snapshot
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.slot import Gone, Slot
    from qcore.status import ClusterStatus

_log = logging.getLogger("qcore.caretaker")

#: Seconds before the broker is asked again after a failure: from, to, doubling with jitter.
_PATIENCE: Final = (0.1, 5.0)
#: A published status is renewed at least this often, seconds, and forgotten after three times that.
_PUBLISH: Final = 5.0
#: Seconds a worker is given to see that messages were taken away before they are given back.
_SETTLE_DOWN: Final = 0.002
#: Renewals happen each this part of the lease: two may be missed.
_RENEWALS: Final = 3.0


class Caretaker:
    """Does everything of the supervisor's that may wait for a network, in one thread."""

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._runtime = runtime
        self._slots = slots
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._broker: Broker | None = None
        self._store: ResultStore | None = None
        config = runtime.config
        self._planner = Planner(
            runtime.rules(), timeout=config.timeout, save=runtime.save_successes, allowed=config.tasks_allowed
        )
        self._reporters = runtime.reporters()
        self._on_settled = runtime.hooks("qcore_settled")
        self._closing = threading.Event()
        self._renewed = time.monotonic()
        self._pruned_at = -1
        #: what the broker last complained of, empty when it answers
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="qcore-caretaker", daemon=True)
        self._thread.start()

    # -- asked by the supervisor, from its own thread -------------------------------------------

    def rescue(self, gone: Gone) -> None:
        """Settle what a dead worker held."""
        self._jobs.put(lambda: self._rescue(gone))

    def tend(self, slot: Slot, seen: Snapshot) -> None:
        """Settle what a worker busy with a long task has finished; give back what it has not begun."""
        page, pid = slot.page, slot.pid
        page.limit(seen.seq, seen.begun)
        self._jobs.put(lambda: self._tend(page, pid, slot, seen))

    def publish(self, status: ClusterStatus) -> None:
        """Publish what the supervisor sees."""
        self._jobs.put(lambda: self._publish(status))

    def prune(self, finished: int) -> None:
        """Keep the number of stored successes within save_limit, if any came since the last time."""
        if finished != self._pruned_at:
            self._pruned_at = finished
            self._jobs.put(self._prune)

    def close(self, seconds: float) -> bool:
        """Finish what was asked, for at most `seconds`; return whether all of it was done."""
        self._closing.set()
        self._jobs.put(lambda: None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        period = self._runtime.config.retry / _RENEWALS
        while not (self._closing.is_set() and self._jobs.empty()):
            wait = max(0.0, self._renewed + period - time.monotonic())
            try:
                job: Callable[[], None] | None = self._jobs.get(timeout=wait)
            except queue.Empty:
                job = None
            if time.monotonic() - self._renewed >= period:
                self._renewed = time.monotonic()
                self._patiently(self._renew)
            if job is not None:
                self._patiently(job)
        self._reporters.flush()
        for connection in (self._broker, self._store):
            if connection is not None:
                connection.close()

    def _patiently(self, job: Callable[[], None]) -> None:
        """Do a job, again and again while the broker does not answer."""
        patience = _PATIENCE[0]
        while True:
            try:
                job()
            except BackendUnavailable as exc:
                self.trouble = str(exc)
                _log.warning("the broker does not answer, next try in %.2g s: %s", patience, exc)
                if self._closing.wait(patience * (0.5 + random.random() / 2)) and patience > 1:  # noqa: S311 - jitter
                    # At the end of the process its leases run out by themselves.
                    return
                patience = min(patience * 2, _PATIENCE[1])
            except BackendError as exc:
                self.trouble = str(exc)
                _log.error("given up: %s", exc)
                return
            except Exception:  # noqa: BLE001 - logged; supervision goes on whatever one job meets
                _log.exception("a fault of qcore's own; the supervisor goes on")
                return
            else:
                self.trouble = ""
                return

    def _connect(self) -> tuple[Broker, ResultStore]:
        if self._broker is None:
            self._broker = self._runtime.make_broker()
        if self._store is None:
            self._store = self._runtime.make_store()
        return self._broker, self._store

    # -- the jobs -------------------------------------------------------------------------------

    def _rescue(self, gone: Gone) -> None:
        held, ended = gone.left
        noted = {one.index: one for one in ended}
        results: list[StoredResult] = []
        settlements: list[Settlement] = []
        running = gone.seen.running
        for index in range(gone.seen.settled, len(held)):
            if index in noted:
                settlement, result = noted[index].settlement, noted[index].result
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
        broker = self._write(results, settlements)
        broker.reclaim(gone.owner)

    def _fell(self, held: Held, gone: Gone) -> tuple[Settlement, StoredResult | None]:
        """Return what becomes of the message that was running when its worker died."""
        kind, text = self._verdict(held, gone)
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
        if kind is not Kind.INTERRUPTED:
            _log.error("task %s (%s): %s; %s", task_id, plan.name, text, decision.action.name.lower())
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
        return settlement, result

    def _verdict(self, held: Held, gone: Gone) -> tuple[Kind, str]:
        if gone.killed == "timeout":
            if (gone.seen.seq, gone.seen.begun) == gone.condemned:
                seconds = (gone.seen.deadline - gone.seen.started) / 1e9
                return (
                    Kind.TIMEOUT,
                    f"TaskTimeout: the task ran longer than its timeout of {seconds:g} seconds",
                )
            # The late task had just ended when its worker was killed: this one is innocent.
            return Kind.INTERRUPTED, ""
        if gone.killed == "stop":
            return Kind.INTERRUPTED, ""
        del held
        return Kind.CRASH, f"WorkerDied: {gone.death}"

    def _tend(self, page: Page, pid: int, slot: Slot, seen: Snapshot) -> None:
        time.sleep(_SETTLE_DOWN)
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
        for index in range(now.settled, now.ended):
            one = noted.get(index)
            settlements.append(one.settlement if one else Settlement(held[index].receipt))
            if one is not None and one.result is not None:
                results.append(one.result)
        settlements += [Settlement(one.receipt, Action.RELEASE) for one in held[now.begun :]]
        if settlements:
            self._forget(held, results, now)
            self._write(results, settlements)
            page.mark_flushed(now.seq, now.ended)

    def _forget(self, held: Sequence[Held], results: Sequence[StoredResult], seen: Snapshot) -> None:
        """Forget the old failures of requeued tasks that will run again, as a worker does."""
        first = {one.id for one in held if one.deliveries == 1}
        again = [one.id for one in results if one.state is State.RETRYING and one.id in first]
        if again:
            leased = time.time() - (time.monotonic_ns() - seen.leased) / 1e9
            forget_failures(self._connect()[1], again, before=leased)

    def _write(self, results: list[StoredResult], settlements: list[Settlement]) -> Broker:
        """Save, then settle: the order that loses nothing."""
        broker, store = self._connect()
        if results:
            store.save(results)
        if settlements:
            broker.settle(settlements)
        return broker

    def _renew(self) -> None:
        """Prolong the leases of everything that living workers hold."""
        config = self._runtime.config
        if not config.renew:
            return
        broker, _ = self._connect()
        if not broker.capabilities.extend:
            return
        young = time.monotonic_ns() - int(config.retry / _RENEWALS / 2 * 1e9)
        receipts: list[bytes] = []
        for slot in self._slots:
            seen = slot.page.look()
            if (
                slot.pid
                and seen.count > seen.settled
                and seen.leased < young
                and seen.state == WorkerState.BUSY
            ):
                left = slot.page.read(seen)
                if left is not None:
                    receipts += [one.receipt for one in left[0][seen.settled :]]
        if receipts:
            broker.extend(receipts, config.retry)

    def _publish(self, status: ClusterStatus) -> None:
        broker, _ = self._connect()
        if not broker.capabilities.status:
            return
        body = b""
        if status.state != "stopped":
            body = self._runtime.status_sealer.seal(STATUS, msgspec.json.encode(status))
        broker.publish_status(status.id, body, _PUBLISH * 3)

    def _prune(self) -> None:
        limit = self._runtime.config.save_limit
        _, store = self._connect()
        store.prune(limit if limit > 0 else -1)

"""The messages one worker holds: from leased to settled."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from qcore.errors import BackendUnavailable, EnvelopeError
from qcore.flows.continuation import Continuation, wants_value
from qcore.flows.writing import Writer, again, unstored
from qcore.hookspecs import RejectedEvent
from qcore.journal.held import Ended
from qcore.messages.marks import Marks
from qcore.messages.results import forget_failures
from qcore.model import Action, Delivery, Kind, Outcome, Settlement, State
from qcore.schedules.condemn import condemn
from qcore.settle import Decision, decide
from qcore.workers.entry import Entry, gather, held, hindrance, prepare, rejected, stored
from qcore.workers.telling import Telling, log_failed, log_unrun
from qcore.workers.tenure import Tenure, undecided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.messages.tail import Then
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.tasks.plan import Planner

_log = logging.getLogger("qcore.worker")


class Batch:
    """Verifies, notes down, and settles; knows nothing of how tasks are run."""

    def __init__(
        self, runtime: Runtime, broker: Broker, store: ResultStore, planner: Planner, page: Page
    ) -> None:
        self._runtime = runtime
        self._open = runtime.envelope.open
        self._store = store
        self._continuation = Continuation(runtime, broker.capabilities.max_bytes)
        self._writer = Writer(broker, store, self._continuation)
        #: a message that is not settled comes back
        self._lasting = broker.capabilities.receipts
        self._planner = planner
        self._page = page
        self._renew = runtime.config.renew
        self._tenure = Tenure(runtime.config, broker)
        self._marks = Marks(runtime.control_sealer)
        self._telling = Telling(runtime.hooks("qcore_settled"))
        self._on_rejected = runtime.hooks("qcore_rejected")
        self._entries: list[Entry] = []
        #: of this batch: settled by now, and finished by now
        self._settled = 0
        self.ended = 0
        self._settlements: list[Settlement] = []
        self._results: list[StoredResult] = []
        #: settlements of messages that never came to be entries
        self._refused: list[Settlement] = []
        #: what follows from these, and from the other settlements, by their places
        self._unrun: list[tuple[int, Then]] = []
        self._thens: list[tuple[int, Then, StoredResult]] = []
        #: ids of tasks that failed at their first delivery and will run again
        self._again: list[bytes] = []
        #: epoch seconds when this batch was taken
        self._taken = 0.0

    def take(self, deliveries: Sequence[Delivery]) -> Sequence[Entry]:
        """Verify leased messages and note them down; what must not run is settled unrun.

        Raises:
            BackendUnavailable: the result store does not answer; nothing is done, call it again.

        """
        entries = []
        strange: list[tuple[Delivery, EnvelopeError]] = []
        back = False
        cached = self._planner.cached
        for delivery in deliveries:
            try:
                opened = self._open(delivery.body)
                plan = cached(opened.head) or self._planner.plan(opened.head)
                entries.append(Entry(delivery, opened, plan))
            except EnvelopeError as exc:
                strange.append((delivery, exc))
                continue
            if delivery.deliveries > 1 or opened.expires or opened.derived or opened.tail:
                back = True
        if back:
            entries = self._fit_to_run(entries, {one.receipt: one for one in deliveries})
        for delivery, fault in strange:
            self._reject(delivery, fault)
        while not self._page.hold(held(entries), time.monotonic_ns()):
            keep = len(entries) // 2
            self._refused += [Settlement(one.receipt, Action.RELEASE) for one in entries[keep:]]
            entries = entries[:keep]
        self._entries = entries
        self._taken = time.time()
        self._settled = self.ended = 0
        return entries

    def _reject(self, delivery: Delivery, exc: EnvelopeError) -> None:
        settlement = rejected(delivery, exc, self._planner.rules)
        self._refused.append(settlement)
        if settlement.action is Action.BURY:
            for hook in self._on_rejected:
                hook(RejectedEvent(reason=settlement.reason, size=len(delivery.body)))

    def _fit_to_run(self, entries: list[Entry], came: dict[bytes, Delivery]) -> list[Entry]:
        """Leave out what has expired, what already ended, and what nobody survives."""
        again = [one for one in entries if one.deliveries > 1 or one.opened.derived]
        before = stored(again, self._store, self._runtime.results)
        brought = gather(entries, self._store)
        called_off = self._marks.called_off(self._store, [x.opened.id for x in again if x.foreseen])
        now = time.time()
        fit = []
        seen: set[bytes] = set()
        for one in entries:
            if one.opened.derived and one.opened.id in seen:
                # It was enqueued twice: how its twin ends is known when it comes again.
                self._refused.append(Settlement(one.receipt, Action.RELEASE))
                continue
            seen.add(one.opened.id)
            found = before.get(one.opened.id)
            kind, text = hindrance(one, found, came[one.receipt], now, renew=self._renew)
            if kind is None and (text := prepare(one, self._runtime.results, brought.get(one.opened.id, {}))):
                kind = Kind.SKIPPED
            if kind is None and one.opened.id in called_off:
                kind, text = Kind.CANCELLED, "TaskCancelled: the task was called off"
            if kind is None:
                fit.append(one)
            else:
                self._end_unrun(one, kind, text, now, found)
        return fit

    def _end_unrun(self, one: Entry, kind: Kind, text: str, now: float, found: StoredResult | None) -> None:
        log_unrun(one, text or kind.value)
        decision = decide(kind, one.plan.rules)
        if kind is Kind.CRASH:
            # Worn out: it is buried whatever its budget says.
            decision = Decision(Action.BURY, State.FAILED, reason=text)
        action, state, reason = decision.action, decision.state, decision.reason
        if state is not None:
            outcome = Outcome(kind, error=text, started=now, finished=now)
            found = self._record(one, state, outcome, b"", one.failures, one.crashes)
            self._results.append(found)
        if one.followed and found is not None and (one.deliveries > 1 or state is not None):
            # Of one that ended before: whoever ran it may have died before he had done this.
            # Of one that was only enqueued twice, whoever holds the other one does it.
            self._unrun.append((len(self._refused), self._after(one, found)))
            if kind is Kind.ALREADY_FAILED and reason:
                reason = f"{reason}: {self._runtime.results.open(found.id, found.body).error}"
        self._refused.append(Settlement(one.receipt, action, 0.0, reason, one.failures, one.crashes))
        self._tell(one, action, kind, reason)

    def finish(self, index: int, entry: Entry, outcome: Outcome) -> bool:
        """Note how a message ended; return False if it is to be settled before the next."""
        self.ended = index + 1
        value = b""
        plan = entry.plan
        save = plan.save
        if outcome.kind is Kind.SUCCESS:
            if not save and not entry.followed:
                self._settlements.append(Settlement(entry.receipt))
                if self._telling.wanted:
                    self._tell(entry, Action.ACK, outcome.kind, "")
                return True
            if save or wants_value(plan.head, entry.tail):
                outcome, value = self._runtime.results.dump(outcome)
        if outcome.kind is Kind.SUCCESS:
            settlement = Settlement(entry.receipt)
            state: State | None = State.SUCCESS
            if self._telling.wanted:
                self._tell(entry, Action.ACK, outcome.kind, "")
        else:
            settlement, state = self._settle_failed(entry, outcome)
        result = then = None
        followed = False
        if state is not None:
            result = self._record(entry, state, outcome, value, entry.failures + 1, entry.crashes)
            followed = entry.followed and state is not State.RETRYING
            if state is State.SUCCESS and not save:
                result = unstored(result)
            else:
                self._results.append(result)
            if followed:
                then = self._after(entry, result)
                self._thens.append((len(self._settlements), then, result))
        self._settlements.append(settlement)
        if self._page.note(Ended(index, settlement, result, None if self._lasting else then, followed)):
            return True
        # Its record does not fit. It is settled before the next begins; if we die over that, it
        # must not pass for one that needs no record, and not be tried for ever either.
        again = Settlement(entry.receipt, Action.RETRY, failures=entry.failures, crashes=entry.crashes + 1)
        self._page.note(Ended(index, again))
        return False

    def _settle_failed(self, entry: Entry, outcome: Outcome) -> tuple[Settlement, State | None]:
        if self._tenure.over(self._page.look().leased, self._page.orders.renewed):
            _log.warning("task %s failed, but its lease was over: not told", entry.opened.id.hex())
            return undecided(entry.receipt, entry.failures, entry.crashes), None
        if entry.plan.missing and entry.plan.head.schedule:
            outcome = condemn(self._runtime, entry.opened, entry.plan, outcome, entry.failures)
        decision = decide(
            outcome.kind,
            entry.plan.rules,
            deliveries=entry.deliveries,
            failures=entry.failures,
            crashes=entry.crashes,
            retryable=outcome.retryable,
            chance=random.random(),  # noqa: S311 - jitter
            reason=outcome.error,
        )
        log_failed(entry, outcome, decision)
        if decision.state is State.RETRYING and entry.deliveries == 1:
            self._again.append(entry.opened.id)
        reason = decision.reason
        if decision.action is Action.BURY and outcome.kind is not Kind.REJECTED:
            reason = f"{reason}: {outcome.error}"
        self._tell(entry, decision.action, outcome.kind, reason)
        settlement = Settlement(
            entry.receipt, decision.action, decision.delay, reason, decision.failures, decision.crashes
        )
        # The message was ours and its producer waits: undecodable arguments are told as a failure.
        state = State.FAILED if outcome.kind is Kind.REJECTED else decision.state
        return settlement, state

    def defer(self, index: int, entry: Entry, seconds: float) -> bool:
        """Note that a message is not to run yet, which was no attempt; False if there is no room to."""
        settlement = Settlement(entry.receipt, Action.RELEASE, seconds)
        if not self._page.note(Ended(index, settlement)):
            # Unnoted it would pass for one that needs nothing but an ACK.
            return False
        self.ended = index + 1
        self._settlements.append(settlement)
        return True

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Release messages that could not be taken."""
        self._refused += [Settlement(one.receipt, Action.RELEASE) for one in deliveries]

    def give_back(self) -> None:
        """Release what was not begun."""
        for one in self._entries[self.ended :]:
            self._refused.append(Settlement(one.receipt, Action.RELEASE))

    def settle(self, limit: int) -> Sequence[Delivery]:
        """Save results, settle what ended, and lease up to `limit` more, in one exchange.

        Raises:
            BackendUnavailable: nothing is forgotten; call it again.
            BackendRefused: some of it will never be taken; `abandon` leaves it.

        """
        if self._again:
            forget_failures(self._store, self._again, before=self._taken)
            self._again = []
        # What the supervisor settled for us while a task ran long is not settled again.
        self._page.orders.await_tending(self._page.seq)
        skip = max(0, self._page.flushed() - self._settled)
        settlements = self._settlements[skip:] + self._refused
        thens = [then for place, then, _ in self._thens if place >= skip] + [then for _, then in self._unrun]
        try:
            deliveries = self._writer.write(self._results, thens, settlements, limit)
        except BackendUnavailable:
            self._leave_open()
            raise
        self._forget()
        if self._telling.wanted:
            self._telling.tell()
        return deliveries

    def abandon(self) -> int:
        """Let what ended come back when its lease ends; return how many messages that are."""
        count = len(self._settlements) + len(self._refused)
        self._forget()
        self._telling.drop()
        return count

    def _forget(self) -> None:
        self._settled = self.ended
        self._page.settled(self.ended)
        self._settlements, self._results, self._refused = [], [], []
        self._thens, self._unrun = [], []

    def _leave_open(self) -> None:
        """Have what something follows from presented once more: that may be enqueued, or not."""
        if self._lasting:
            for place, _, record in self._thens:
                self._settlements[place] = again(self._settlements[place])
                self._results.append(record)
            for place, _ in self._unrun:
                self._refused[place] = again(self._refused[place])
            self._thens, self._unrun = [], []

    def _after(self, one: Entry, record: StoredResult) -> Then:
        return self._continuation.after(one.plan.head, one.tail, record, one.opened.created)

    def _record(  # noqa: PLR0917 - what a record is made of
        self, one: Entry, state: State, outcome: Outcome, value: bytes, attempts: int, crashes: int
    ) -> StoredResult:
        return self._runtime.results.seal(
            one.opened.id,
            one.plan.head,
            state,
            outcome,
            value,
            created=one.opened.created,
            attempts=attempts,
            crashes=crashes,
        )

    def _tell(self, one: Entry, action: Action, kind: Kind, reason: str) -> None:
        self._telling.keep(one.opened.id, one.plan.name, action, kind, reason)

"""The messages one worker holds: from leased to settled."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from qcore.entry import Entry, hindrance
from qcore.errors import BackendRefused, EnvelopeError, UnknownKey
from qcore.hookspecs import RejectedEvent, SettledEvent
from qcore.journal import Ended, Held
from qcore.model import Action, Delivery, Kind, Outcome, Settlement, State
from qcore.results import forget_failures, save_each
from qcore.settle import Decision, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal import Page
    from qcore.model import StoredResult
    from qcore.plan import Planner
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.worker")


class Batch:
    """Verifies, notes down, and settles; knows nothing of how tasks are run."""

    def __init__(
        self, runtime: Runtime, broker: Broker, store: ResultStore, planner: Planner, page: Page
    ) -> None:
        self._runtime = runtime
        self._open = runtime.envelope.open
        self._broker = broker
        self._store = store
        backend = broker.capabilities.backend
        self._together = backend is not None and backend == store.backend
        self._planner = planner
        self._page = page
        self._renew = runtime.config.renew
        self._on_settled = runtime.hooks("qcore_settled")
        self._on_rejected = runtime.hooks("qcore_rejected")
        self._entries: list[Entry] = []
        #: of this batch: settled by now, and finished by now
        self._settled = 0
        self.ended = 0
        self._settlements: list[Settlement] = []
        self._results: list[StoredResult] = []
        #: settlements of messages that never came to be entries
        self._refused: list[Settlement] = []
        self._told: list[SettledEvent] = []
        #: ids of tasks that failed at their first delivery and will run again
        self._again: list[bytes] = []
        #: epoch seconds when this batch was taken
        self._taken = 0.0

    # -- taking a batch -------------------------------------------------------------------------

    def take(self, deliveries: Sequence[Delivery]) -> Sequence[Entry]:
        """Verify leased messages and note them down; what must not run is settled unrun.

        Raises:
            BackendUnavailable: the result store does not answer; nothing is done, call it again.

        """
        entries = []
        rejected: list[tuple[Delivery, EnvelopeError]] = []
        back = False
        cached = self._planner.cached
        for delivery in deliveries:
            try:
                opened = self._open(delivery.body)
                plan = cached(opened.head) or self._planner.plan(opened.head)
            except EnvelopeError as exc:
                rejected.append((delivery, exc))
                continue
            entries.append(Entry(delivery, opened, plan))
            if delivery.deliveries > 1 or opened.expires:
                back = True
        if back:
            entries = self._fit_to_run(entries, {one.receipt: one for one in deliveries})
        for delivery, fault in rejected:
            self._reject(delivery, fault)
        while not self._page.hold(
            [
                Held(
                    one.receipt,
                    one.opened.id,
                    one.opened.head,
                    one.deliveries,
                    one.failures,
                    one.crashes,
                    one.opened.created,
                )
                for one in entries
            ],
            time.monotonic_ns(),
        ):
            keep = len(entries) // 2
            self._refused += [Settlement(one.receipt, Action.RELEASE) for one in entries[keep:]]
            entries = entries[:keep]
        self._entries = entries
        self._taken = time.time()
        self._settled = self.ended = 0
        return entries

    def _reject(self, delivery: Delivery, exc: EnvelopeError) -> None:
        kind = Kind.UNKNOWN_KEY if isinstance(exc, UnknownKey) else Kind.REJECTED
        reason = f"{type(exc).__name__}: {exc}"
        decision = decide(
            kind,
            self._planner.rules,
            deliveries=delivery.deliveries,
            failures=delivery.failures,
            crashes=delivery.crashes,
            reason=reason,
        )
        if decision.action is Action.BURY:
            _log.error("a message of %d bytes is buried unread: %s", len(delivery.body), reason)
            for hook in self._on_rejected:
                hook(RejectedEvent(reason=reason, size=len(delivery.body)))
        else:
            _log.warning("a message is put back for %.3g s: %s", decision.delay, reason)
        self._refused.append(
            Settlement(
                delivery.receipt,
                decision.action,
                decision.delay,
                decision.reason,
                decision.failures,
                decision.crashes,
            )
        )

    def _fit_to_run(self, entries: list[Entry], came: dict[bytes, Delivery]) -> list[Entry]:
        """Leave out what has expired, what already ended, and what nobody survives."""
        again = [one for one in entries if one.deliveries > 1]
        stored = self._store.get([one.opened.id for one in again]) if again else ()
        before = {one.opened.id: found for one, found in zip(again, stored, strict=True) if found}
        now = time.time()
        fit = []
        for one in entries:
            found = before.get(one.opened.id)
            kind, text = hindrance(one, found, came[one.receipt], now, renew=self._renew)
            if kind is None:
                fit.append(one)
            else:
                self._end_unrun(one, kind, text, now)
        return fit

    def _end_unrun(self, one: Entry, kind: Kind, text: str, now: float) -> None:
        _log.warning("task %s (%s) is not run: %s", one.opened.id.hex(), one.plan.name, text or kind.value)
        decision = decide(kind, one.plan.rules)
        if kind is Kind.CRASH:
            # Worn out: it is buried whatever its budget says.
            decision = Decision(Action.BURY, State.FAILED, reason=text)
        action, state, reason = decision.action, decision.state, decision.reason
        if state is not None:
            outcome = Outcome(kind, error=text, started=now, finished=now)
            self._results.append(self._record(one, state, outcome, b"", one.failures, one.crashes))
        self._refused.append(Settlement(one.receipt, action, 0.0, reason, one.failures, one.crashes))
        self._tell(one, action, kind, reason)

    # -- finishing ------------------------------------------------------------------------------

    def finish(self, index: int, entry: Entry, outcome: Outcome) -> bool:
        """Note how a message ended; return False if it is to be settled before the next."""
        self.ended = index + 1
        value = b""
        plan = entry.plan
        if outcome.kind is Kind.SUCCESS:
            if not plan.save:
                self._settlements.append(Settlement(entry.receipt))
                if self._on_settled:
                    self._tell(entry, Action.ACK, outcome.kind, "")
                return True
            outcome, value = self._runtime.results.dump(outcome)
        if outcome.kind is Kind.SUCCESS:
            settlement = Settlement(entry.receipt)
            state: State | None = State.SUCCESS
            if self._on_settled:
                self._tell(entry, Action.ACK, outcome.kind, "")
        else:
            settlement, state = self._settle_failed(entry, outcome)
        result = None
        if state is not None:
            result = self._record(entry, state, outcome, value, entry.failures + 1, entry.crashes)
        self._settlements.append(settlement)
        if result is not None:
            self._results.append(result)
        if self._page.note(Ended(index, settlement, result)):
            return True
        # Its record does not fit. It is settled before the next begins; if we die over that, it
        # must not pass for one that needs no record, and not be tried for ever either.
        again = Settlement(entry.receipt, Action.RETRY, failures=entry.failures, crashes=entry.crashes + 1)
        self._page.note(Ended(index, again))
        return False

    def _settle_failed(self, entry: Entry, outcome: Outcome) -> tuple[Settlement, State | None]:
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
        then = f"again in {decision.delay:.3g} s" if decision.action is Action.RETRY else decision.action.name
        _log.warning(
            "task %s (%s) attempt %d: %s; %s",
            entry.opened.id.hex(),
            entry.plan.name,
            entry.failures + 1,
            outcome.error.partition("\n")[0],
            then,
        )
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

        """
        if self._again:
            forget_failures(self._store, self._again, before=self._taken)
            self._again = []
        # What the supervisor settled for us while a task ran long need not be settled again.
        skip = max(0, self._page.flushed() - self._settled)
        settlements = self._settlements[skip:] + self._refused
        results = self._results
        if self._together:
            deliveries = self._exchange(results, settlements, limit)
        else:
            if results:
                save_each(self._store, results)
            deliveries = self._broker.exchange(None, (), settlements, limit)
        self._settled = self.ended
        self._page.settled(self.ended)
        self._settlements, self._results, self._refused = [], [], []
        if self._on_settled:
            told, self._told = self._told, []
            for event in told:
                for hook in self._on_settled:
                    hook(event)
        return deliveries

    def _exchange(
        self, results: list[StoredResult], settlements: list[Settlement], limit: int
    ) -> Sequence[Delivery]:
        try:
            return self._broker.exchange(self._store, results, settlements, limit)
        except BackendRefused:
            # One record the store will not take must not hold up its neighbours.
            save_each(self._store, results)
            return self._broker.exchange(None, (), settlements, limit)

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
        if self._on_settled:
            self._told.append(
                SettledEvent(
                    task_id=one.opened.id.hex(),
                    name=one.plan.name,
                    action=action.name.lower(),
                    kind=kind.value,
                    reason=reason,
                )
            )

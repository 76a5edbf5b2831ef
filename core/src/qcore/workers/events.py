"""Decides what logs and hooks get of settled messages."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from qcore.hookspecs import SettledEvent
from qcore.messages.head import read_head
from qcore.model import Action, Kind, State
from qcore_counts.tallies import SLOW
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from qcore.flows.completion import Completion
    from qcore.journal.pages import Page
    from qcore.journal.records import FinishedMessage, HeldMessage, PageSnapshot
    from qcore.model import Outcome
    from qcore.settle import Decision
    from qcore.workers.leased import LeasedMessage
    from qcore_counts.tallies import Tallies
    from qcore_logs.tasks import TaskLog
    from qcore_reports.log_limit import LogLimit


class SettledEvents:
    """Makes the events of settled messages, and gives them to hooks once the settlements are durable."""

    def __init__(
        self, hooks: Sequence[Callable[[SettledEvent], None]], tallies: Tallies, log: TaskLog
    ) -> None:
        self._plugins = hooks
        self._tallies = tallies
        self._log = log
        self.look_up()
        #: seconds for which the messages of this batch had waited; 0 = not known
        self.waited = 0.0

    def look_up(self) -> None:
        """Look whether successes are logged: modules that are imported may change that."""
        self._hooks = (*self._plugins, self._log.done) if self._log.wants_done else self._plugins
        #: whether anybody wants events
        self.wanted = bool(self._hooks)

    def event(  # noqa: PLR0917 - the fields of an event
        self,
        task_id: bytes,
        name: str,
        action: Action,
        kind: Kind,
        reason: str = "",
        attempt: int = 0,
        seconds: float | None = None,
        *,
        waited: float = 0.0,
        queue: str | None = None,
    ) -> SettledEvent | None:
        """Return the event of one message, None if nobody wants it; count it, unless it is a success."""
        if kind is not Kind.SUCCESS:
            slow = (seconds,) if seconds is not None and seconds >= SLOW else ()
            self._tallies.add(
                name, kind, queue=queue, seconds=seconds or 0.0, slow=slow, waited=waited, action=action
            )
        if not self.wanted:
            return None
        return SettledEvent(
            task_id=task_id.hex(),
            name=name,
            action=action.name.lower(),
            kind=kind.value,
            reason=reason,
            attempt=attempt,
            seconds=seconds,
        )

    def ended(self, message: LeasedMessage, outcome: Outcome, decision: Decision) -> SettledEvent | None:
        """Return the event of a run that did not succeed, None if there are no hooks; count it."""
        first = message.deliveries == 1 and not message.plan.head.delayed
        return self.event(
            message.opened.id,
            message.plan.name,
            decision.action,
            outcome.kind,
            decision.reason,
            message.failures + 1,
            outcome.finished - outcome.started,
            waited=self.waited if first else 0.0,
            queue=message.plan.head.queue,
        )

    def measure_wait(self, page: Page, messages: Sequence[LeasedMessage]) -> None:
        """Count the wait of a batch's first message for all of them, if its age is its wait."""
        self.waited = 0.0
        if messages and messages[0].deliveries == 1 and not messages[0].plan.head.delayed:
            waited = time.time_ns() - messages[0].opened.created * 1_000_000
            page.metrics.waited(len(messages), waited)
            self.waited = waited / 1e9

    def count_successes(self, messages: Iterable[LeasedMessage]) -> None:
        """Count what plans have added up while these messages ran; most messages of a batch share one."""
        for plan in {one.plan for one in messages}:
            if plan.successes:
                self._tallies.add(
                    plan.name,
                    Kind.SUCCESS,
                    plan.successes,
                    queue=plan.head.queue,
                    seconds=plan.seconds,
                    slow=plan.slow,
                    waited=0.0 if plan.head.delayed else self.waited,
                )
                plan.successes, plan.seconds = 0, 0.0
                plan.slow.clear()

    def count_each_wait(
        self, messages: Sequence[LeasedMessage], waits: Mapping[tuple[str, str | None, float], int]
    ) -> None:
        """Count successes of which each has waited for its own time: so many by name, queue and seconds."""
        self.waited = 0.0
        self.count_successes(messages)
        for (name, queue, waited), count in waits.items():
            self._tallies.add_waits(name, waited, count, queue=queue)

    def count_recovered(
        self,
        held: Sequence[HeldMessage],
        recorded: Mapping[int, FinishedMessage],
        seen: PageSnapshot,
        acknowledged: int,
    ) -> None:
        """Count the successes that a dead worker had not counted: it does so once they are settled."""
        for index in range(seen.settled, seen.begun):
            ended = recorded.get(index)
            if ended is None:
                succeeded = index not in {seen.running, acknowledged}
            elif ended.result is None:
                succeeded = ended.settlement.action is Action.ACK
            else:
                succeeded = ended.result.state is State.SUCCESS
            if succeeded:
                self.count_successes_of([held[index]])

    def count_successes_of(self, messages: Iterable[HeldMessage]) -> None:
        """Count tasks that have succeeded, one by one."""
        for one in messages:
            head = read_head(one.head)
            self._tallies.add(head.name, Kind.SUCCESS, queue=head.queue)

    def emit(self, completions: Iterable[Completion]) -> None:
        """Call the hooks for messages whose settlements are durable."""
        if self.wanted:
            for event in [one.event for one in completions if one.event is not None]:
                for hook in self._hooks:
                    hook(event)


def log_skipped(log: LogLimit, message: LeasedMessage, kind: Kind, text: str) -> None:
    """Log that a message is settled without a run, in one line for a kind and second.

    One that has succeeded before is not a trouble: it was enqueued, or delivered, twice.
    """
    level = logging.DEBUG if kind is Kind.ALREADY_SUCCEEDED else logging.WARNING
    name, why = line(message.plan.name), line(text or kind.value)
    log.write(level, kind, f"task {message.opened.id.hex()} ({name}) is not run: {why}")

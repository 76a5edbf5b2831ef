"""What log and hooks are told of what became of tasks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore.hookspecs import SettledEvent
from qcore.model import Action
from qcore.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Kind, Outcome
    from qcore.settle import Decision
    from qcore.workers.leased import LeasedMessage

_log = logging.getLogger("qcore.worker")


class SettledEvents:
    """Events of a batch, which hooks see once they are true."""

    def __init__(self, hooks: Sequence[Callable[[SettledEvent], None]]) -> None:
        self._hooks = hooks
        #: whether anybody listens
        self.wanted = bool(hooks)
        self._kept: list[SettledEvent] = []

    def add(self, one: LeasedMessage, action: Action, kind: Kind, reason: str = "") -> None:
        """Keep what became of a message until it is true."""
        if self.wanted:
            self._kept.append(
                SettledEvent(
                    task_id=one.opened.id.hex(),
                    name=one.plan.name,
                    action=action.name.lower(),
                    kind=kind.value,
                    reason=reason,
                )
            )

    def clear(self) -> None:
        """Forget what was added, because it did not come true."""
        self._kept = []

    def flush(self) -> None:
        """Call the hooks for what was added."""
        kept, self._kept = self._kept, []
        for event in kept:
            for hook in self._hooks:
                hook(event)


def log_skipped(one: LeasedMessage, why: str) -> None:
    """Say that a message is settled without a run."""
    _log.warning("task %s (%s) is not run: %s", one.opened.id.hex(), line(one.plan.name), line(why))


def log_failed(one: LeasedMessage, outcome: Outcome, decision: Decision) -> None:
    """Say how a run failed, in one line, and what becomes of its message."""
    then = f"again in {decision.delay:.3g} s" if decision.action is Action.RETRY else decision.action.name
    _log.warning(
        "task %s (%s) attempt %d: %s; %s",
        one.opened.id.hex(),
        line(one.plan.name),
        one.failures + 1,
        line(outcome.error.partition("\n")[0]),
        then,
    )

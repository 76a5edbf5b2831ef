"""What a task's own rules ask for before and after it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.tasks.limits import Limiter
from qcore.workers.leased import rejected_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.journal.pages import Page
    from qcore.model import Outcome
    from qcore.runtime import Runtime
    from qcore.workers.at_most_once import BeginOnce
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.waiting import Failures


class OwnRules:
    """Begins and ends tasks with a limit, with crashes of their own or that run at most once."""

    def __init__(
        self, runtime: Runtime, page: Page, once: BeginOnce, failures: Failures, stopping: Callable[[], bool]
    ) -> None:
        self._limiter = Limiter(runtime.coordination_stores)
        self._page = page
        self._once = once
        self._failures = failures
        self._stopping = stopping

    def begin(self, index: int, message: LeasedMessage, deadline: int) -> tuple[Outcome | None, int, float]:
        """Return the outcome of a task that must not run, the deadline of one that may, and a wait.

        The wait is that of a task that must run later, in seconds, else 0.
        """
        plan, outcome, wait = message.plan, None, 0.0
        if plan.max_crashes is not None:
            self._page.limit_crashes(index, plan.max_crashes)
        if plan.limit is not None:
            outcome, wait = self.acquire(message)
        if plan.once and outcome is None and not wait:
            outcome, deadline = self._once.start(index, message)
        return outcome, deadline, wait

    def end(self, index: int, message: LeasedMessage, total: int) -> None:
        """Release what the task held."""
        limit = message.plan.limit
        if limit is not None:
            # The task ends before its permit is released, or the supervisor would extend the permit.
            self._page.end(index + 1, total)
            self.release(message)

    def release(self, message: LeasedMessage) -> None:
        """Release the permit of a task, if it has one."""
        if message.plan.limit is not None:
            self._limiter.release(message.opened.id, message.plan.limit)

    def acquire(self, message: LeasedMessage) -> tuple[Outcome | None, float]:
        """Return how a task under a limit ends that cannot begin, and the seconds it has to wait."""
        id_, limit = message.opened.id, message.plan.limit
        if limit is None:
            return None, 0.0
        backoff = self._failures.backoff()
        while True:
            try:
                return None, self._limiter.acquire(id_, limit)
            except BackendRejected as exc:
                return rejected_outcome(exc), 0.0
            except BackendUnavailable as exc:
                self._failures.wait_out(exc, backoff)
                if self._stopping():
                    return None, backoff.seconds

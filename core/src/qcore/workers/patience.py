"""How a worker goes on calling backends until they answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from qcore.errors import BackendError, BackendUnavailable, Interrupted
from qcore.workers.waiting import Failures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.journal.pages import Page
    from qcore.model import Delivery
    from qcore.workers.batch import Batch
    from qcore.workers.leased import LeasedMessage

_T = TypeVar("_T")


class Stop(Interrupted):
    """Interrupts a wait, because the worker is to stop."""


class Patience:
    """Makes calls again and again."""

    def __init__(self, slot: int, page: Page, stopping: Callable[[], bool]) -> None:
        self._page = page
        self._stopping = stopping
        self.failures = Failures(slot, stopping, page.commands.mark_beat, page.metrics.count_error)

    def connected(self, make: Callable[[], _T]) -> _T:
        """Return a connection once the backend gives one; a stop ends the worker instead."""
        backoff = self.failures.backoff()
        while True:
            try:
                return make()
            except BackendError as exc:
                self.failures.wait_out(exc, backoff)
                if self._stopping():
                    raise Stop from exc

    def until_answered(self, call: Callable[..., _T], *args: Any) -> _T:
        """Make a call until a backend answers it; a stop ends the worker instead."""
        backoff = None
        while True:
            self._page.commands.mark_beat()
            try:
                return call(*args)
            except BackendUnavailable as exc:
                self.failures.wait_out(exc, backoff := backoff or self.failures.backoff())
                if self._stopping():
                    # What is not settled is in the journal, and the supervisor settles it.
                    raise Stop from exc

    def screened(self, batch: Batch, deliveries: Sequence[Delivery], retry: float) -> list[LeasedMessage]:
        """Return the leased messages that may run, once the result store has said which have ended before.

        They are released if it does not answer within `retry` seconds, the time of a lease.
        """
        began, backoff = time.monotonic(), None
        while True:
            try:
                return batch.verify(deliveries)
            except BackendUnavailable as exc:
                self.failures.wait_out(exc, backoff := backoff or self.failures.backoff())
                if self._stopping() or time.monotonic() > began + retry:
                    # They are not in the journal, so their leases were not renewed and may have expired.
                    batch.release(deliveries)
                    return []

"""Whether who has leased a message still has the lease."""

from __future__ import annotations

import time


class LeaseDeadline:
    """Compares the clock with the time of a lease and of its last renewal.

    Where leases are not renewed nothing ever counts as expired, because Django-Q's rule holds there:
    a task may run longer than its lease, and its result is reported.
    """

    def __init__(self, seconds: float, *, renewed: bool) -> None:
        self._lease = int(seconds * 1e9) if renewed else 0

    def expired(self, leased: int, renewed: int) -> bool:
        """Return whether another worker may have the message by now.

        Args:
            leased: monotonic nanoseconds.
            renewed: monotonic nanoseconds of the last renewal, 0 = none.

        """
        return bool(self._lease) and time.monotonic_ns() > max(leased, renewed) + self._lease

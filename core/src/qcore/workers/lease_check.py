"""Whether a worker still has the lease of a message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore.config import Config
    from qcore.interfaces import Broker


class LeaseDeadline:
    """Compares the clock with the time of the lease and of its last renewal.

    Where leases are not renewed nothing ever counts as expired, because Django-Q's rule holds there:
    a task may run longer than its lease, and its result is reported.
    """

    def __init__(self, config: Config, broker: Broker) -> None:
        self._lease = int(config.retry * 1e9) if config.renew_leases and broker.capabilities.extend else 0

    def expired(self, leased: int, renewed: int) -> bool:
        """Return whether another worker may have the message by now.

        Args:
            leased: monotonic nanoseconds.
            renewed: monotonic nanoseconds of the last renewal, 0 = none.

        """
        return bool(self._lease) and time.monotonic_ns() > max(leased, renewed) + self._lease

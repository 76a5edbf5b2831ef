"""Whether a worker still has what it leased."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qcore.model import Action, Settlement

if TYPE_CHECKING:
    from qcore.config import Config
    from qcore.interfaces import Broker


class LeaseDeadline:
    """Judges by the time of the lease and of its last renewal; where leases are not renewed, not at all.

    Without renewal the specification holds to the letter: a task may run longer than its lease,
    and how it ends is told.
    """

    def __init__(self, config: Config, broker: Broker) -> None:
        self._lease = int(config.retry * 1e9) if config.renew_leases and broker.capabilities.extend else 0

    def over(self, leased: int, renewed: int) -> bool:
        """Return whether others may have the message by now.

        Args:
            leased: monotonic nanoseconds.
            renewed: monotonic nanoseconds of the last renewal, 0 = none.

        """
        return bool(self._lease) and time.monotonic_ns() > max(leased, renewed) + self._lease


def undecided(receipt: bytes, failures: int, crashes: int) -> Settlement:
    """Return what presents a message once more, if nobody else has it, as often as is bounded."""
    return Settlement(receipt, Action.RETRY, failures=failures, crashes=crashes)

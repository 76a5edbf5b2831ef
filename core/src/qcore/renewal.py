"""Prolongs the leases of what living workers hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.journal import WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.config import Config
    from qcore.interfaces import Broker
    from qcore.slot import Slot

#: Renewals happen each this part of the lease: two may be missed.
RENEWALS: Final = 3.0


def renew(config: Config, slots: Sequence[Slot], broker: Broker) -> None:
    """Prolong the leases of everything that living workers hold."""
    if not config.renew or not broker.capabilities.extend:
        return
    now = time.monotonic_ns()
    young = now - int(config.retry / RENEWALS / 2 * 1e9)
    receipts: list[bytes] = []
    pages = []
    for slot in slots:
        seen = slot.page.look()
        if slot.pid and seen.count > seen.settled and seen.leased < young and seen.state == WorkerState.BUSY:
            left = slot.page.read(seen)
            if left is not None:
                receipts += [one.receipt for one in left[0][seen.settled :]]
                pages.append(slot.page)
    if receipts:
        broker.extend(receipts, config.retry)
        for page in pages:
            # As of before the call: nobody knows how long the answer took.
            page.orders.renew(now)

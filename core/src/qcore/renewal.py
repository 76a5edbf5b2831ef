"""Prolongs the leases and places of what living workers hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.envelope import read_head
from qcore.journal import WorkerState
from qcore.limits import PLACE, limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.config import Config
    from qcore.interfaces import Broker, ResultStore
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


def keep_places(slots: Sequence[Slot], store: Callable[[], ResultStore]) -> None:
    """Prolong the places of tasks under a limit that have been running for a while."""
    old = time.monotonic_ns() - int(PLACE / RENEWALS / 2 * 1e9)
    for slot in slots:
        seen = slot.page.look()
        if not slot.pid or seen.running < 0 or seen.started > old:
            continue
        left = slot.page.read(seen)
        if left is None:
            continue
        held = left[0][seen.running]
        limit = limit_of(read_head(held.head))
        notes = store().notes if limit is not None and limit.concurrency else None
        if limit is not None and notes is not None:
            notes.acquire(limit.place, held.id, limit.concurrency, PLACE)

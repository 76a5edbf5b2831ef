"""Decides from which queues a cluster leases, in which order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qcore_queues.names import known_as, named

if TYPE_CHECKING:
    from collections.abc import Sequence


class QueueOrder:
    """The queues that messages are leased from; one for each connection."""

    def __init__(self, queues: Sequence[str] | Mapping[str, int]) -> None:
        """Take a list, whose order is strict, or weights.

        Args:
            queues: names, the first one first; or names and weights, whole numbers above 0.

        """
        #: as brokers know them, in the order in which the user named them
        self.names = tuple(known_as(name) for name in queues)
        self._weights = (
            {known_as(name): weight for name, weight in queues.items()} if isinstance(queues, Mapping) else {}
        )
        #: what each queue has saved up since it was the first, see `next`; processes begin apart
        self._credit = {name: random.random() * weight for name, weight in self._weights.items()}  # noqa: S311 - no secret

    def next(self) -> Sequence[str]:
        """Return the queues in the order of the next lease.

        With weights, each queue comes first in its proportion of leases, evenly spread; an empty one
        leaves the lease to the others.
        """
        if not self._weights:
            return self.names
        credit = self._credit
        for name, weight in self._weights.items():
            credit[name] += weight
        order = sorted(credit, key=credit.__getitem__, reverse=True)
        credit[order[0]] -= sum(self._weights.values())
        return order

    def __repr__(self) -> str:
        weighted = {named(name): weight for name, weight in self._weights.items()}
        return f"QueueOrder({weighted or [named(name) for name in self.names]})"


def order_of(queues: Sequence[str] | Mapping[str, int] | None, owner: bytes) -> QueueOrder | None:
    """Return the order in which a process leases; a process without an owner leases from all queues."""
    return QueueOrder(queues) if queues and owner else None

"""What settlements become where the broker lacks a capability."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from qcore.model import Action, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Capabilities

_log = logging.getLogger("qcore.emulation")


class Emulation:
    """Settles by what a broker can do, so that it is never asked for what it refuses."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._can = broker.capabilities

    @classmethod
    def where_needed(cls, broker: Broker) -> Self | None:
        """Return an emulation for a broker that lacks something, else None."""
        can = broker.capabilities
        return None if can.dead_letters and can.retry_delay else cls(broker)

    def settlements(self, wanted: Sequence[Settlement]) -> list[Settlement]:
        """Return what the broker gets instead.

        - Without dead letters a message that failed for good is acknowledged; its failure is stored
          among the results before. One that cannot be read has no result: a worker logs its bytes.
        - Without delays of settlements a message is left leased for its delay, so it comes back
          when that lease ends; its counters are taken from its result by `restore_counters`.
        """
        kept: list[Settlement] = []
        waiting: dict[float, list[bytes]] = {}
        for one in wanted:
            if one.action is Action.DEAD_LETTER and not self._can.dead_letters:
                _log.error("a message is removed, for its broker keeps no dead letters: %s", one.reason)
                kept.append(Settlement(one.receipt))
            elif one.delay > 0 and not self._can.retry_delay:
                waiting.setdefault(one.delay, []).append(one.receipt)
            else:
                kept.append(one)
        if self._can.redelivers and self._can.extend:
            for delay, receipts in waiting.items():
                self._broker.extend(receipts, delay)
        return kept


def counts_in_results(broker: Broker) -> bool:
    """Return whether failures and crashes of a message must be read from its stored result."""
    can = broker.capabilities
    return can.redelivers and not (can.stores_counters and can.retry_delay)


def is_lost(can: Capabilities, action: Action) -> bool:
    """Return whether a message that cannot be read is gone once it is settled like that."""
    return not (can.dead_letters if action is Action.DEAD_LETTER else can.redelivers)

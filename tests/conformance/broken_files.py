"""Brokers of several processes that do something else in one call."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.model import Action, Outgoing, Settlement
from qcore_sqlite import SqliteBroker
from tests.conformance import broken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qcore.interfaces import Settings
    from qcore.model import Delivery

changed = msgspec.structs.replace


class TakesAtOnce(SqliteBroker):
    """Removes a message when it hands it out."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Acknowledge for the worker."""
        found = super().lease(limit, wait)
        super().settle([Settlement(one.receipt) for one in found])
        return found


class TakesTheNextAlong(SqliteBroker):
    """Removes more than it was asked for, and keeps the rest for the next call."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out of its own memory."""
        kept: list[Delivery] = self.__dict__.setdefault("kept", [])
        if not kept:
            kept += super().lease(limit + 40, wait)
            super().settle([Settlement(one.receipt) for one in kept])
        found = kept[:limit]
        del kept[:limit]
        return found


class LeasesToAll(SqliteBroker):
    """Hands a message out and leaves it where it is, until it is acknowledged."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Let others have it as well, for a while."""
        found = super().lease(limit, wait)
        super().settle([Settlement(one.receipt, Action.RELEASE) for one in found])
        time.sleep(0.05 if found else 0)
        again = {one.body: one.receipt for one in super().lease(limit, 0.0)}
        return [changed(one, receipt=again.get(one.body, one.receipt)) for one in found]


class WaitsInVain(SqliteBroker):
    """Waits without looking who comes."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Look first, then wait."""
        if not (found := super().lease(limit, 0.0)):
            time.sleep(min(wait, 3.0))
        return found


class GivesToWhoWaits(SqliteBroker):
    """Has a message for one that waits, whether it lives or not."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._folder: Path = settings.sections["sqlite"].path.parent

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Leave word that one waits."""
        word = self._folder / f"{os.getpid()}.waits"
        word.touch()
        found = super().lease(limit, wait)
        word.unlink()
        return found

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Put it where only that one looks."""
        delay = 600.0 if list(self._folder.glob("*.waits")) else 0.0
        super().enqueue([changed(one, delay=max(one.delay, delay)) for one in messages])


class ReplacesByAnother(SqliteBroker):
    """Has a new dead letter for one whose body changes."""

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Make one that is younger."""
        found = [one for one in self.dead_letters(1000) if one.id == id]
        if not found:
            return False
        self.delete([id])
        super().enqueue([Outgoing(bytes(16), body)])
        leased = [one for one in super().lease(1000, 0.0) if one.body == body]
        super().settle(
            [Settlement(one.receipt, Action.DEAD_LETTER, reason=found[0].reason) for one in leased]
        )
        return True


class CountsTheReadyOnly(SqliteBroker):
    """Counts no delayed messages by their keys."""

    def key_ids(self) -> Any:
        """Leave one of each out."""
        found = super().key_ids()
        return found and Counter({key: count - 1 for key, count in found.items() if count > 1})


class DropsTheSameId(SqliteBroker):
    """Drops a message whose id another one has, and does not say that it does."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Keep the first."""
        super().enqueue(list({one.id: one for one in reversed(messages)}.values()))


class SettlesThenSaves(SqliteBroker):
    """Ends leases before their results are stored."""

    def commit_and_lease(
        self, store: Any, results: Any, settlements: Any, limit: int, then: Any = ()
    ) -> Sequence[Delivery]:
        """Leave time to die between the two."""
        super().commit_and_lease(None, (), settlements, 0, then)
        time.sleep(0.02)
        return super().commit_and_lease(store, results, (), limit)


#: what is broken, and the test that must say so
IN_FILES: Final[list[tuple[Any, ...]]] = [
    (TakesAtOnce, "test_a_message_outlives_the_consumer"),
    (LeasesToAll, "test_every_message_goes_to_one_of_many"),
    (WaitsInVain, "test_a_blocking_lease_is_woken_by_other_processes"),
    (GivesToWhoWaits, "test_a_waiting_consumer_takes_nothing_with_it"),
    (ReplacesByAnother, "test_a_dead_letter_gets_another_body"),
    (CountsTheReadyOnly, "test_keys_of_waiting_messages_are_counted"),
    (DropsTheSameId, "test_one_id_is_no_other_message"),
    (TakesTheNextAlong, "test_many_die_and_nothing_is_lost"),
    (broken.Buffers, "test_accepted_batches_are_whole"),
]

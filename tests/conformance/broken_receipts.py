"""Brokers that know their own leases only, or let numbers and names slip."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import msgspec

from qcore.errors import NotSupported, PayloadTooLarge
from qcore_sqlite import SqliteBroker
from qcore_testing.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Delivery, Outgoing, Settlement
    from qcore_testing.memory.queue import MemoryQueue

changed = msgspec.structs.replace


class ExtendsItsOwn(MemoryBroker):
    """Extends the leases that this connection took."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Remember the receipts."""
        leased = super().lease(limit, wait)
        self.__dict__.setdefault("own", set()).update(one.receipt for one in leased)
        return leased

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Leave the others out."""
        super().extend([one for one in receipts if one in self.__dict__.get("own", ())], seconds)


class _OfOneProcess(SqliteBroker):
    """Puts the process into each receipt, and takes no other's."""

    settles = extends = True

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Name the process."""
        return [
            changed(one, receipt=b"%d:" % os.getpid() + one.receipt) for one in super().lease(limit, wait)
        ]

    def _own(self, receipt: bytes, *, strict: bool) -> bytes:
        process, _, rest = receipt.partition(b":")
        return rest if not strict or process == b"%d" % os.getpid() else b""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Leave out what another process leased."""
        super().settle(
            [changed(one, receipt=self._own(one.receipt, strict=self.settles)) for one in settlements]
        )

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Leave out what another process leased."""
        super().extend([self._own(one, strict=self.extends) for one in receipts], seconds)


class SettlesForItsProcess(_OfOneProcess):
    """Settles what this process leased, extends anything."""

    extends = False


class ExtendsForItsProcess(_OfOneProcess):
    """Extends what this process leased, settles anything."""

    settles = False


class StrangeReceiptStops(MemoryBroker):
    """Settles what comes before the first receipt that it does not know."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give up in silence."""
        for one in settlements:
            if one.receipt not in self._queue._leased:
                return
            super().settle([one])


class OneQueueForAllNames(MemoryBroker):
    """Takes every name for the same queue."""

    @staticmethod
    def queue_name(name: str) -> str:
        """Return the name of the queue that a broker of this name uses."""
        del name
        return "kit"


class CaseIsIgnored(MemoryBroker):
    """Takes names that differ in capital letters for the same."""

    @staticmethod
    def queue_name(name: str) -> str:
        """Return the name of the queue that a broker of this name uses."""
        return name.lower()


class OwnerOfAllQueues(MemoryBroker):
    """Releases the leases of an owner in every queue."""

    all_queues: ClassVar[list[MemoryQueue]] = []

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.all_queues.append(self._queue)

    def release_owner(self, owner: bytes) -> int:
        """Look into all of them."""
        return sum(queue.release_owner(owner) for queue in set(self.all_queues))


class StatusOfAllQueues(OwnerOfAllQueues):
    """Shows the clusters of every queue."""

    def statuses(self) -> Sequence[bytes]:
        """Look into all of them."""
        return [body for queue in set(self.all_queues) for body in queue.statuses()]


class DeleteTakesTheLive(MemoryBroker):
    """Removes whatever has such an id."""

    def delete(self, ids: Sequence[str]) -> int:
        """Look among the waiting as well."""
        taken = self.remove_messages([bytes.fromhex(id) for id in ids if len(id) == 32])
        return super().delete(ids) + len(taken)


class CountersAreShort(MemoryBroker):
    """Keeps counters in 16 bits."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Cut them off."""
        super().settle(
            [
                changed(one, failures=min(one.failures, 0xFFFF), crashes=one.crashes & 0xFFFF)
                for one in settlements
            ]
        )


class DelaysAreWhole(MemoryBroker):
    """Cuts the fraction of a delay off."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Round down."""
        super().enqueue([changed(one, delay=float(int(one.delay))) for one in messages])


class LeasesAreWhole(MemoryBroker):
    """Cuts the fraction of a lease off."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Round down."""
        return self._queue.take(limit, wait, float(math.floor(self._retry)))


class RetriesAreWhole(MemoryBroker):
    """Cuts the fraction of the delay of a settlement off."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Round down."""
        super().settle([changed(one, delay=float(int(one.delay))) for one in settlements])


class ReasonTooLongIsDropped(MemoryBroker):
    """Has room for a short reason, and keeps none of a long one."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop it."""
        super().settle(
            [changed(one, reason=one.reason if len(one.reason) < 1000 else "") for one in settlements]
        )


class _Small(MemoryBroker):
    """Takes small messages, and checks one after the other."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, max_bytes=4096)

    def told(self, accepted: list[bytes]) -> list[bytes]:
        """Return what the error says."""
        return accepted

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept one after the other."""
        accepted: list[bytes] = []
        for one in messages:
            if len(one.body) > 4096:
                error = PayloadTooLarge("too large")
                error.accepted = self.told(accepted)
                raise error
            super().enqueue([one])
            accepted.append(one.id)


class TellsWhatItAccepted(_Small):
    """Is sound: a part is accepted, and the error says which."""


class AcceptsAPartInSilence(_Small):
    """Accepts a part and does not say so."""

    def told(self, accepted: list[bytes]) -> list[bytes]:
        """Say nothing."""
        return []


class TellsTooMuch(_Small):
    """Says that it accepted what it did not."""

    def told(self, accepted: list[bytes]) -> list[bytes]:
        """Add one."""
        return [*accepted, os.urandom(16)]


class _NoRetryDelay(MemoryBroker):
    """Delays no settlement."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, retry_delay=False)


class RefusesRetryDelay(_NoRetryDelay):
    """Is sound: it says so, and the lease goes on."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Refuse."""
        if any(one.delay > 0 for one in settlements):
            raise NotSupported("no delays")
        super().settle(settlements)


class RetryDelayIsDenied(_NoRetryDelay):
    """Denies that it can delay a settlement, and drops the delay in silence."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop it."""
        super().settle([changed(one, delay=0.0) for one in settlements])


class RefusesTooLate(_NoRetryDelay):
    """Refuses a delay when it has ended the lease."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End it first."""
        super().settle([changed(one, delay=0.0) for one in settlements])
        if any(one.delay > 0 for one in settlements):
            raise NotSupported("no delays")

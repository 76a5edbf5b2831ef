"""What a worker writes to shared memory: states and records."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from qcore.messages.workflow import FollowUp  # noqa: TC001 - read at run time by msgspec
from qcore.model import Settlement, StoredResult  # noqa: TC001 - read at run time by msgspec


class WorkerState(enum.IntEnum):
    """What a worker is doing."""

    STARTING = 0
    IDLE = 1
    BUSY = 2
    LEAVING = 3


class ExitReason(enum.IntEnum):
    """Why a worker ended by itself."""

    NOT = 0
    RECYCLED = 1
    MEMORY = 2
    STOPPED = 3
    #: it could not continue, for example because its connections were closed
    BROKEN = 4


class HeldMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One leased message, with all that is needed to settle it for a dead worker."""

    receipt: bytes
    id: bytes
    #: encoded and verified `Head`
    head: bytes
    deliveries: int
    failures: int
    crashes: int
    #: epoch milliseconds
    created: int
    #: follow-up messages are enqueued between its result and its acknowledgement
    has_follow_ups: bool = False


class FinishedMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One finished message that needs more than a plain ACK."""

    #: position in the batch
    index: int
    settlement: Settlement
    result: StoredResult | None = None
    #: its follow-up messages, where the broker cannot redeliver the message
    follow_up: FollowUp | None = None
    #: it has follow-up messages, which can be made from the message itself
    has_follow_ups: bool = False


#: What one settled message counts in `PageSnapshot.outcomes`; more than the bytes of a page.
SETTLED: Final = 1 << 21


class PageSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The words of a page at one moment."""

    seq: int
    count: int
    begun: int
    ended: int
    #: monotonic nanoseconds
    started: int
    #: monotonic nanoseconds, 0 = none
    deadline: int
    #: monotonic nanoseconds when the batch was leased
    leased: int
    #: settled * SETTLED + where the records of finished messages end
    outcomes: int
    state: int
    reason: int
    #: tasks finished by this process
    total: int

    @property
    def settled(self) -> int:
        """How many of the batch the worker itself has settled."""
        return self.outcomes // SETTLED

    @property
    def position(self) -> tuple[int, int]:
        """The number of the batch and how many of its messages have begun: names a run of this slot."""
        return self.seq, self.begun

    @property
    def running(self) -> int:
        """Position of the running message, -1 if none runs."""
        return self.begun - 1 if self.begun > self.ended else -1

"""The words of a page by which a supervisor steers its worker."""

from __future__ import annotations

import enum
import time
from typing import Final

#: Where the words are. All but the last are wiped for the next worker of the slot.
_CANCELLED: Final = 112 // 8
_RENEWED: Final = 120 // 8
_FLUSHING: Final = 128 // 8
_PAUSED: Final = 256 // 8

#: What belongs to one batch is tagged with its number: number * TAG + position.
TAG: Final = 1 << 20
#: Most seconds a worker waits for its supervisor, which may be waiting for a backend, and how often
#: it looks.
_PATIENCE: Final = 5.0
_GLANCE: Final = 0.0005


class Pause(enum.IntEnum):
    """Whether workers are to take nothing new."""

    NO = 0
    YES = 1
    #: nobody has looked yet whether the queue is paused
    UNKNOWN = 2


#: By their numbers: to make one of a number takes longer than to read it, at every batch.
_PAUSES: Final = tuple(Pause)


class WorkerCommands:
    """What the supervisor says to one worker."""

    __slots__ = ("_words",)

    def __init__(self, memory: memoryview) -> None:
        #: each written by one store, see `Page`
        self._words = memory.cast("q")

    # -- the supervisor writes ----------------------------------------------------------------

    def cancel(self, seq: int, begun: int) -> None:
        """Say that the message of batch `seq` that was the `begun`th to begin is to end."""
        self._words[_CANCELLED] = seq * TAG + begun

    def pause(self, what: Pause) -> None:
        """Say whether to take new messages."""
        self._words[_PAUSED] = what

    def renew(self, when: int) -> None:
        """Say when the leases of what is held were last prolonged, monotonic nanoseconds."""
        self._words[_RENEWED] = when

    def flush(self, seq: int | None) -> None:
        """Say that messages of batch `seq` are being settled for the worker; None = none are."""
        self._words[_FLUSHING] = 0 if seq is None else seq * TAG + 1

    # -- the worker reads ---------------------------------------------------------------------

    def cancelled(self, seq: int, begun: int) -> bool:
        """Whether the message that runs is to end."""
        return self._words[_CANCELLED] == seq * TAG + begun

    def await_flush(self, seq: int) -> None:
        """Wait while messages of batch `seq` are being settled for us, or it would be done twice."""
        end = time.monotonic() + _PATIENCE
        while self._words[_FLUSHING] == seq * TAG + 1 and time.monotonic() < end:
            time.sleep(_GLANCE)

    @property
    def paused(self) -> Pause:
        """Whether to take new messages."""
        return _PAUSES[self._words[_PAUSED]]

    @property
    def renewed(self) -> int:
        """When leases were last prolonged, monotonic nanoseconds; 0 = not yet."""
        return self._words[_RENEWED]

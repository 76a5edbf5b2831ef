"""The words of a page by which a supervisor commands its worker."""

from __future__ import annotations

import enum
import time
from typing import Final

from qcore_counts.metrics import METRICS_END, TAG
from qcore_counts.tallies import TALLIES
from qcore_process.backoff import Backoff
from qcore_queues.pausing import LEFT_OUT, LeftOut

#: Where the words are. All but the last two are cleared for the next worker of the slot.
_CANCELLED: Final = 112 // 8
_RENEWED: Final = 120 // 8
_FLUSHING: Final = 128 // 8
_BEAT: Final = 144 // 8
_PAUSED: Final = 256 // 8
_BATCH: Final = 264 // 8
#: Where it stands which queues are paused, behind the tallies; not cleared either.
_LEFT_OUT: Final = METRICS_END + TALLIES
COMMANDS_END: Final = _LEFT_OUT + LEFT_OUT

#: Most seconds a worker waits for its supervisor, which may be waiting for a backend, and seconds
#: between two reads of the word.
_FLUSH_TIMEOUT: Final = 5.0
_FLUSH_POLL: Final = 0.0005
#: Seconds between two checks whether a queue is still paused, the shortest and the longest: at the
#: start it is unknown for a moment only.
_PAUSE_POLL: Final = (0.005, 0.2)


class Pause(enum.IntEnum):
    """Whether workers may lease new messages."""

    NO = 0
    YES = 1
    #: the supervisor has not asked yet whether the queue is paused
    UNKNOWN = 2


#: By their numbers, because making a member from a number takes longer than reading it here.
_PAUSES: Final = tuple(Pause)


class WorkerCommands:
    """What the supervisor sends to one worker."""

    __slots__ = ("_words", "left_out")

    def __init__(self, memory: memoryview) -> None:
        #: each is written by one store, see `Page`
        self._words = memory.cast("q")
        #: the queues that the worker does not lease from
        self.left_out = LeftOut(memory[_LEFT_OUT:COMMANDS_END])

    # -- the supervisor writes ----------------------------------------------------------------

    def cancel(self, seq: int, begun: int) -> None:
        """Have the worker end the message of batch `seq` that was the `begun`th to begin."""
        self._words[_CANCELLED] = seq * TAG + begun

    def pause(self, what: Pause) -> None:
        """Say to the worker whether to lease new messages."""
        self._words[_PAUSED] = what

    def renew(self, when: int) -> None:
        """Tell the worker when its leases were last extended, monotonic nanoseconds."""
        self._words[_RENEWED] = when

    def flush(self, seq: int | None) -> None:
        """Tell the worker that messages of batch `seq` are being settled for it; None = none are."""
        self._words[_FLUSHING] = 0 if seq is None else seq * TAG + 1

    @property
    def beat(self) -> int:
        """When the worker last showed that it goes on, monotonic nanoseconds; 0 = not yet."""
        return self._words[_BEAT]

    # -- the worker writes --------------------------------------------------------------------

    def mark_beat(self) -> None:
        """Tell the supervisor that this worker goes on."""
        self._words[_BEAT] = time.monotonic_ns()

    def hand_on(self, batch: int) -> None:
        """Tell the next worker of this slot how large the batches of this one were."""
        self._words[_BATCH] = batch

    def take_over(self) -> int:
        """Return what the worker before this one has handed on, once; 0 if that is nothing."""
        batch, self._words[_BATCH] = self._words[_BATCH], 0
        return batch

    # -- the worker reads ---------------------------------------------------------------------

    def cancelled(self, seq: int, begun: int) -> bool:
        """Whether the running message must end."""
        return self._words[_CANCELLED] == seq * TAG + begun

    def await_flush(self, seq: int) -> None:
        """Wait while the supervisor settles messages of batch `seq`, or they would be settled twice."""
        end = time.monotonic() + _FLUSH_TIMEOUT
        while self._words[_FLUSHING] == seq * TAG + 1 and time.monotonic() < end:
            time.sleep(_FLUSH_POLL)

    def await_resume(self) -> None:
        """Wait while the queue is paused, or not known to be running; a stop interrupts this."""
        backoff = Backoff(*_PAUSE_POLL)
        while self.paused:
            self.mark_beat()
            time.sleep(backoff.next())

    @property
    def paused(self) -> Pause:
        """Whether to lease new messages."""
        return _PAUSES[self._words[_PAUSED]]

    @property
    def renewed(self) -> int:
        """When leases were last extended, monotonic nanoseconds; 0 = not yet."""
        return self._words[_RENEWED]

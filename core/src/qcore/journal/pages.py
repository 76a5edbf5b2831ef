"""Shared memory: what each worker holds, runs and has finished."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.journal.cells import Cells
from qcore.journal.commands import COMMANDS_END, WorkerCommands
from qcore.journal.records import (
    SETTLED,
    ExitReason,
    FinishedMessage,
    HeldMessage,
    PageSnapshot,
    WorkerState,
)
from qcore_counts.metrics import METRICS_END, PROGRESS_OF, TAG, Metrics
from qcore_counts.tallies import TALLIES, Tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.status import Progress

# One page per worker: words, metrics, tallies, then the leased messages. Every word is eight aligned bytes
# written at once, so a reader sees the old or the new value. Where the other side writes a word that
# belongs to one batch, it tags the word with the batch's number, so a late word is ignored.

#: Bytes of a page. Untouched memory costs nothing; a batch that does not fit is split.
PAGE: Final = 1 << 20
#: Bytes of words that are cleared for the next worker of a slot, and where the messages begin.
_WORDS: Final = 256
_BODY: Final = COMMANDS_END
#: Bytes reserved for the last record of a batch, one without a result.
_SPARE: Final = 8192

#: Bytes of a workflow header that are recorded in any case, see `Page.mark_acknowledged`.
MAX_HEADER: Final = PAGE // 2 - _SPARE - 4

#: The words, by their numbers.
_SEQ: Final = 0
_COUNT: Final = 1
_BEGUN: Final = 2
_ENDED: Final = 3
_STARTED: Final = 4
_DEADLINE: Final = 5
_LEASED: Final = 6
#: how many messages are settled, and where the records of the finished others end: one word, because a
#: reader between two would take old records for those of messages that ended later
_OUTCOMES: Final = 7
_STATE: Final = 8
_REASON: Final = 9
_TOTAL: Final = 10
_LIMIT: Final = 12
_FLUSHED: Final = 13
#: 11 is free, 14 to 16 are those of `commands`.
_ACKNOWLEDGED: Final = 17
_CRASHES: Final = 18
_CRASHES_OF: Final = 19

_LENGTH: Final = struct.Struct("I")

_encode = msgspec.msgpack.Encoder().encode
_decode_held = msgspec.msgpack.Decoder(list[HeldMessage]).decode
_decode_ended = msgspec.msgpack.Decoder(FinishedMessage).decode

_SNAPSHOT: Final = struct.Struct("11q")


class Page:
    """One worker's page."""

    __slots__ = (
        "_body",
        "_end",
        "_memory",
        "_next",
        "_settled",
        "_words",
        "cells",
        "commands",
        "metrics",
        "seq",
        "tallies",
    )

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        #: the tasks that run at once, while there are some
        self.cells = Cells(memory[PAGE:])
        self.commands = WorkerCommands(memory)
        self.metrics = Metrics(memory)
        self.tallies = Tallies(memory[METRICS_END : METRICS_END + TALLIES])
        #: Each is written by one store. `struct.pack_into` first clears all it is about to write, and
        #: a reader in between saw a task that had begun at time zero.
        self._words = memory.cast("q")
        self.seq: int = self._words[_SEQ]
        self._body = self._next = _BODY
        #: messages of the batch that are settled, as `_OUTCOMES` has them
        self._settled = 0
        #: where the room for records ends
        self._end = PAGE

    def attach(self) -> None:
        """Begin as a new worker, where the one before has ended; this object may be older than its end."""
        self.seq = self._words[_SEQ]

    # -- the worker writes --------------------------------------------------------------------

    def write_batch(self, batch: Sequence[HeldMessage], leased: int) -> bool:
        """Record a leased batch; return False, with nothing changed, if it is too large for the page.

        Args:
            batch: verified messages in the order they will run.
            leased: monotonic nanoseconds.

        """
        data = _encode(batch)
        end = _BODY + _LENGTH.size + len(data)
        memory, words = self._memory, self._words
        # Half of the page is reserved for the records of finished messages.
        if end > PAGE // 2:
            return False
        # The count is set to zero first and to its new value last: a worker that dies between two of
        # these lines has recorded nothing or everything.
        words[_COUNT] = 0
        _LENGTH.pack_into(memory, _BODY, len(data))
        memory[_BODY + _LENGTH.size : end] = data
        self.seq += 1
        self._body = self._next = end
        self._end = PAGE
        words[_BEGUN] = words[_ENDED] = words[_STARTED] = words[_DEADLINE] = 0
        words[_LEASED] = leased
        self._settled = 0
        words[_OUTCOMES] = end
        words[_SEQ] = self.seq
        words[_COUNT] = len(batch)
        return True

    def begin(self, index: int, started: int, deadline: int) -> bool:
        """Record that message `index` begins; return False if the supervisor has released it.

        Args:
            index: position in the batch.
            started: monotonic nanoseconds.
            deadline: monotonic nanoseconds, 0 = none.
        """
        words = self._words
        # In this order no reader sees a running message with another one's start or deadline.
        words[_DEADLINE] = 0
        words[_STARTED] = started
        words[_ENDED] = index
        words[_BEGUN] = index + 1
        if deadline:
            words[_DEADLINE] = deadline
        # This was written before the limit is read: the supervisor reads again after setting it.
        tagged = words[_LIMIT]
        if tagged and tagged // TAG == self.seq and index >= tagged % TAG:
            words[_BEGUN] = index
            words[_DEADLINE] = words[_STARTED] = 0
            return False
        return True

    def end(self, ended: int, total: int) -> None:
        """Record that `ended` messages of the batch have ended, `total` since the process began."""
        words = self._words
        words[_DEADLINE] = 0
        words[_BEGUN] = words[_ENDED] = ended
        words[_STARTED] = 0
        words[_TOTAL] = total

    def count_finished(self, total: int) -> None:
        """Record that `total` messages have ended since the process began."""
        self._words[_TOTAL] = total

    def add_finished(self, ended: FinishedMessage) -> bool:
        """Record a finished message, in case this process dies before it is settled; False if full."""
        data = _encode(ended)
        start = self._next
        stop = start + _LENGTH.size + len(data)
        room = self._end if ended.result is None and ended.follow_up is None else self._end - _SPARE
        if stop > room:
            return False
        _LENGTH.pack_into(self._memory, start, len(data))
        self._memory[start + _LENGTH.size : stop] = data
        self._next = stop
        self._words[_OUTCOMES] = self._settled + stop
        return True

    def mark_acknowledged(self, index: int, tail: bytes) -> bool:
        """Record that a message is acknowledged before it begins; False if its tail does not fit.

        Args:
            index: position in the batch.
            tail: its workflow header, which nobody else has from now on.

        """
        start = PAGE - _LENGTH.size - len(tail)
        if start < self._next + _SPARE:
            return False
        self._end = start
        self._words[_ACKNOWLEDGED] = 0
        self._memory[start : start + len(tail)] = tail
        _LENGTH.pack_into(self._memory, PAGE - _LENGTH.size, len(tail))
        self._words[_ACKNOWLEDGED] = self.seq * TAG + index + 1
        return True

    def limit_crashes(self, index: int, count: int) -> None:
        """Record how many crashes the code of a task allows, which its message does not say."""
        self._words[_CRASHES] = count
        self._words[_CRASHES_OF] = self.seq * TAG + index + 1

    def mark_settled(self, count: int) -> None:
        """Record that the first `count` messages of the batch are settled; their records are dropped."""
        self._next = self._body
        self._settled = count * SETTLED
        self._words[_OUTCOMES] = self._settled + self._body

    def set_state(self, state: WorkerState, reason: ExitReason = ExitReason.NOT) -> None:
        """Tell the supervisor the state of this worker."""
        self._words[_REASON] = reason
        self._words[_STATE] = state

    def flushed(self) -> int:
        """Return how many messages of this batch the supervisor has settled."""
        tagged = self._words[_FLUSHED]
        return tagged % TAG if tagged // TAG == self.seq else 0

    def position(self) -> tuple[int, int]:
        """Return the number of this worker's batch and how many of its messages have begun."""
        return self.seq, self._words[_BEGUN]

    def lease_times(self) -> tuple[int, int]:
        """Return when this batch was leased and its leases last extended, monotonic nanoseconds."""
        return self.snapshot().leased, self.commands.renewed

    def report_progress(self, done: float, total: float, note: str) -> None:
        """Record the progress of the running task."""
        self.metrics.advance(self.seq, self._words[_BEGUN], done, total, note)

    def running_message(self) -> HeldMessage | None:
        """Return the running message, None if there is none."""
        seen = self.snapshot()
        left = self.read(seen)
        return None if left is None or seen.running < 0 else left[0][seen.running]

    def last_progress(self) -> Progress | None:
        """Return what the task that has begun last has reported; most tasks report nothing."""
        words = self._words
        return self.metrics.progress(self.seq, words[_BEGUN]) if words[PROGRESS_OF] else None

    # -- the supervisor writes ----------------------------------------------------------------

    def reset(self) -> None:
        """Clear the page for the next worker of this slot; the numbers of batches continue."""
        seq = self._words[_SEQ]
        self._memory[:_WORDS] = bytes(_WORDS)
        self._words[_SEQ] = seq + 1
        self.cells.reset()

    def limit_batch(self, seq: int, count: int) -> None:
        """Forbid the worker to begin messages of batch `seq` from position `count` on."""
        self._words[_LIMIT] = seq * TAG + count

    def mark_flushed(self, seq: int, count: int) -> None:
        """Tell the worker that the first `count` messages of batch `seq` are settled."""
        self._words[_FLUSHED] = seq * TAG + count

    # -- the supervisor reads -----------------------------------------------------------------

    def snapshot(self) -> PageSnapshot:
        """Read the words, all of the same batch."""
        while True:
            seen = PageSnapshot(*_SNAPSHOT.unpack_from(self._memory, 0))
            # This process may have been suspended between two words, for many batches.
            if self._words[_SEQ] == seen.seq:
                return seen

    def acknowledged(self, seen: PageSnapshot) -> tuple[int, bytes]:
        """Return the message that was acknowledged before it began, and its tail; -1 if there is none."""
        tagged = self._words[_ACKNOWLEDGED]
        if tagged // TAG != seen.seq:
            return -1, b""
        stop = PAGE - _LENGTH.size
        return tagged % TAG - 1, bytes(self._memory[stop - _LENGTH.unpack_from(self._memory, stop)[0] : stop])

    def max_crashes(self, seen: PageSnapshot) -> int | None:
        """Return how many crashes the code of the running task allows, None if it does not say."""
        return self._words[_CRASHES] if self._words[_CRASHES_OF] == seen.seq * TAG + seen.begun else None

    def read(self, seen: PageSnapshot) -> tuple[list[HeldMessage], list[FinishedMessage]] | None:
        """Read the leased and the finished messages; None if the worker has moved on meanwhile."""
        held: list[HeldMessage] = []
        ended: list[FinishedMessage] = []
        try:
            if seen.count:
                size = _LENGTH.unpack_from(self._memory, _BODY)[0]
                at = _BODY + _LENGTH.size
                held = _decode_held(bytes(self._memory[at : at + size]))
                ended = self._outcomes(at + size, seen.outcomes % SETTLED)
        except (msgspec.MsgspecError, ValueError, struct.error):
            if self._still(seen):
                raise
            return None
        return (held, ended) if self._still(seen) else None

    def _still(self, seen: PageSnapshot) -> bool:
        now = self.snapshot()
        return (now.seq, now.count, now.settled) == (seen.seq, seen.count, seen.settled)

    def _outcomes(self, at: int, stop: int) -> list[FinishedMessage]:
        found = []
        while at + _LENGTH.size <= stop:
            size = _LENGTH.unpack_from(self._memory, at)[0]
            found.append(_decode_ended(bytes(self._memory[at + _LENGTH.size : at + _LENGTH.size + size])))
            at += _LENGTH.size + size
        return found

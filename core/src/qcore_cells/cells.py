"""Cells of shared memory, which one process fills and another reads."""

from __future__ import annotations

import enum
import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# A cell holds one message, from its lease to its settlement. The words of all cells with one meaning
# stand side by side, so that a supervisor reads them in one go. Every word is written by one store.
# Each use of a cell has a number of its own, by which a reader sees that the cell has moved on.

#: Bytes of the cells of one worker. Untouched memory costs nothing.
CELLS: Final = 1 << 20
#: Words before the first column: how many cells there are, and the number of the last use.
_COUNT: Final = 0
_LAST: Final = 1
_HEADER: Final = 8
#: Bytes of the note of a progress.
_NOTE: Final = 128

_DOUBLE: Final = struct.Struct("d")


class CellState(enum.IntEnum):
    """What a cell holds."""

    FREE = 0
    #: a message that has not begun
    HELD = 1
    RUNNING = 2
    #: a message that has ended, with a record of what is to be written
    RECORDED = 3
    #: a message that has ended and needs nothing but an acknowledgement
    SUCCEEDED = 4
    #: a message that has ended, and whose record had no room: it is delivered again
    UNRECORDED = 5


class _Column:
    """The words of a cell; plain numbers, because arithmetic with members of an enumeration is slow."""

    USE = 0
    STATE = 1
    STARTED = 2
    DEADLINE = 3
    LEASED = 4
    RENEWED = 5
    CANCELLED = 6
    HELD_BYTES = 7
    ENDED_BYTES = 8
    MAX_CRASHES = 9
    STEP = 10
    DONE = 11
    WHOLE = 12
    NOTE_BYTES = 13
    ALL = 14


# As plain numbers.
_FREE: Final = int(CellState.FREE)
_HELD: Final = int(CellState.HELD)
_RUNNING: Final = int(CellState.RUNNING)
_SUCCEEDED: Final = int(CellState.SUCCEEDED)


class Cell(NamedTuple):
    """One cell in use, as it was at one moment."""

    at: int
    #: number of this use; no other use of this slot has it
    use: int
    state: int
    #: monotonic nanoseconds
    started: int
    #: monotonic nanoseconds, 0 = none
    deadline: int
    #: monotonic nanoseconds
    leased: int
    #: monotonic nanoseconds when its lease was last extended, 0 = not yet
    renewed: int
    #: crashes that the code of the task allows, plus one; 0 = it does not say
    max_crashes: int


class RawCells:
    """The cells of one worker."""

    __slots__ = (
        "_bodies", "_count", "_crashes", "_deadlines", "_lengths", "_memory", "_notes", "_renewals", "_since",
        "_size", "_starts", "_states", "_steps", "_uses", "_words",
    )  # fmt: skip

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._words = memory.cast("q")
        self._lay_out()

    def _lay_out(self) -> None:
        count = self._count = self._words[_COUNT]
        self._notes = (_HEADER + _Column.ALL * count) * 8
        self._bodies = self._notes + count * _NOTE
        self._size = (CELLS - self._bodies) // count if count else 0
        # Where a column begins that is written for each task.
        self._uses, self._states, self._starts, self._deadlines, self._since, self._renewals = (
            _HEADER + column * count for column in range(_Column.CANCELLED)
        )
        self._lengths = _HEADER + _Column.HELD_BYTES * count
        self._crashes = _HEADER + _Column.MAX_CRASHES * count
        self._steps = _HEADER + _Column.STEP * count

    # -- the worker writes --------------------------------------------------------------------

    def open(self, count: int) -> None:
        """Make this many cells, all free."""
        self._words[_COUNT] = 0
        for at in range(_HEADER, _HEADER + _Column.ALL * count):
            self._words[at] = 0
        self._words[_COUNT] = count
        self._lay_out()

    def hold_data(self, index: int, data: bytes, leased: int) -> bool:
        """Record a leased message in a free cell; return False if it is too large for one.

        Args:
            index: the cell.
            data: the message.
            leased: monotonic nanoseconds.

        """
        length = len(data)
        if length > self._size:
            return False
        at = self._bodies + index * self._size
        self._memory[at : at + length] = data
        words = self._words
        words[_LAST] = use = words[_LAST] + 1
        words[self._uses + index] = use
        words[self._since + index] = leased
        # Of the others each is written before it counts, or, as `CANCELLED`, names its use.
        words[self._renewals + index] = words[self._crashes + index] = words[self._steps + index] = 0
        words[self._lengths + index] = length
        words[self._states + index] = _HELD
        return True

    def begin(self, index: int, started: int, deadline: int) -> None:
        """Record that the message of a cell begins, monotonic nanoseconds; a deadline of 0 is none."""
        words = self._words
        words[self._starts + index] = started
        words[self._deadlines + index] = deadline
        words[self._states + index] = _RUNNING

    def put_back(self, index: int) -> None:
        """Record that the message of a cell has not begun after all."""
        self._end(index, CellState.HELD)

    def limit_crashes(self, index: int, count: int) -> None:
        """Record how many crashes the code of a task allows, which its message does not say."""
        self._set(_Column.MAX_CRASHES, index, count + 1)

    def succeed(self, index: int) -> None:
        """Record that a message has ended and needs nothing but an acknowledgement."""
        self._end(index, _SUCCEEDED)

    def end_with(self, index: int, data: bytes) -> None:
        """Record how a message has ended, as far as there is room."""
        start = self._get(_Column.HELD_BYTES, index)
        if start + len(data) > self._size:
            self._end(index, CellState.UNRECORDED)
            return
        at = self._bodies + index * self._size + start
        self._memory[at : at + len(data)] = data
        self._set(_Column.ENDED_BYTES, index, len(data))
        self._end(index, CellState.RECORDED)

    def _end(self, index: int, state: int) -> None:
        self._words[self._deadlines + index] = 0
        self._words[self._states + index] = state

    def free(self, index: int) -> None:
        """Record that the message of a cell is settled, or held elsewhere."""
        self._end(index, _FREE)

    def report(self, index: int, done: float, whole: float, note: str) -> None:
        """Record the progress of the task in a cell."""
        text = note.encode("utf-8", "replace")[:_NOTE]
        # The step is odd while this is written.
        step = self._get(_Column.STEP, index) | 1
        self._set(_Column.STEP, index, step)
        self._set_double(_Column.DONE, index, done)
        self._set_double(_Column.WHOLE, index, whole)
        at = self._notes + index * _NOTE
        self._memory[at : at + len(text)] = text
        self._set(_Column.NOTE_BYTES, index, len(text))
        self._set(_Column.STEP, index, step + 1)

    # -- the supervisor writes ----------------------------------------------------------------

    def reset(self) -> None:
        """Forget all cells, for the next worker of this slot; the numbers of uses continue."""
        self._words[_COUNT] = 0

    def cancel(self, index: int, use: int) -> None:
        """Have the worker end the message of a cell, if it is still the same use."""
        self._set(_Column.CANCELLED, index, use)

    def renew(self, index: int, when: int) -> None:
        """Tell the worker when the lease in a cell was extended, monotonic nanoseconds."""
        self._set(_Column.RENEWED, index, when)

    # -- both read ----------------------------------------------------------------------------

    def in_use(self) -> Sequence[Cell]:
        """Return the cells that hold a message."""
        if not self._words[_COUNT]:
            return ()
        self._lay_out()
        states = self._column(_Column.STATE)
        if not any(states):
            return ()
        uses, started = self._column(_Column.USE), self._column(_Column.STARTED)
        deadlines, leased = self._column(_Column.DEADLINE), self._column(_Column.LEASED)
        renewed, crashes = self._column(_Column.RENEWED), self._column(_Column.MAX_CRASHES)
        return [
            Cell(at, uses[at], state, started[at], deadlines[at], leased[at], renewed[at], crashes[at])
            for at, state in enumerate(states)
            if state and uses[at] == self._get(_Column.USE, at)
        ]

    def lease_times(self, index: int) -> tuple[int, int]:
        """Return when a cell's message was leased and its lease last extended, monotonic nanoseconds."""
        return self._get(_Column.LEASED, index), self._get(_Column.RENEWED, index)

    def is_cancelled(self, index: int) -> bool:
        """Whether the message of a cell must end."""
        return self._get(_Column.CANCELLED, index) == self._get(_Column.USE, index)

    def is_still(self, cell: Cell) -> bool:
        """Return whether a cell has not moved on since it was read."""
        return self._get(_Column.USE, cell.at) == cell.use and self._get(_Column.STATE, cell.at) > 0

    def data(self, index: int) -> bytes:
        """Return the message of a cell, which is torn if the cell moves on meanwhile."""
        at = self._bodies + index * self._size
        return bytes(self._memory[at : at + self._get(_Column.HELD_BYTES, index)])

    def record(self, index: int) -> bytes:
        """Return the record of a message that has ended, of a process that is dead."""
        at = self._bodies + index * self._size + self._get(_Column.HELD_BYTES, index)
        return bytes(self._memory[at : at + self._get(_Column.ENDED_BYTES, index)])

    def step(self, index: int) -> tuple[float, float, str] | None:
        """Return what was reported of a cell, see `report`; None if nothing was."""
        for _ in range(3):
            step = self._get(_Column.STEP, index)
            if not step:
                return None
            done, whole = self._double(_Column.DONE, index), self._double(_Column.WHOLE, index)
            at = self._notes + index * _NOTE
            note = bytes(self._memory[at : at + self._get(_Column.NOTE_BYTES, index)])
            if step % 2 == 0 and self._get(_Column.STEP, index) == step:
                if not (math.isfinite(done) and math.isfinite(whole)):
                    return None
                return done, whole, note.decode("utf-8", "ignore")
        return None

    # -- words --------------------------------------------------------------------------------

    def _column(self, column: int) -> Sequence[int]:
        start = _HEADER + column * self._count
        return self._words[start : start + self._count].tolist()

    def _get(self, column: int, index: int) -> int:
        return self._words[_HEADER + column * self._count + index]

    def _set(self, column: int, index: int, value: int) -> None:
        self._words[_HEADER + column * self._count + index] = value

    def _double(self, column: int, index: int) -> float:
        return float(_DOUBLE.unpack_from(self._memory, (_HEADER + column * self._count + index) * 8)[0])

    def _set_double(self, column: int, index: int, value: float) -> None:
        _DOUBLE.pack_into(self._memory, (_HEADER + column * self._count + index) * 8, value)

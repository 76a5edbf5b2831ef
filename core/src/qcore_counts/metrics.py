"""What a worker reports of its work: progress and durations."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from qcore.status import Durations, Percentiles, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A word that belongs to one batch is tagged with the batch's number: number * TAG + position.
TAG: Final = 1 << 20
#: Offsets in a page, between the words and the leased messages. None of this is cleared for the
#: next worker: progress is tagged with its task, and the counts of a slot only ever grow.
_PROGRESS: Final = 320
_NOTE: Final = 360
_REPORTS: Final = 896 // 8
_REDELIVERIES: Final = _REPORTS + 2
_ERRORS: Final = _REPORTS + 3
_RUNS: Final = 1024
_WAITS: Final = 2048
#: Where the tallies begin.
METRICS_END: Final = 4096

_WORD: Final = struct.Struct("q")
_STEP: Final = struct.Struct("qddq")  # tag, done, total, bytes of the note
_VERSION: Final = _PROGRESS // _WORD.size
#: The word that says whose progress it is; 0 = none of this slot has reported any.
PROGRESS_OF: Final = _VERSION + 1
#: Most characters of a note, each of at most four bytes.
_NOTE_CHARS: Final = 120

#: Two buckets per octave, from a microsecond to thirteen days: a duration differs by at most a
#: fifth from the value its bucket stands for.
_BUCKETS: Final = 80
_LEAST: Final = 1024
_LEAST_BITS: Final = 11
_COUNTS: Final = struct.Struct(f"{_BUCKETS}q")


class Metrics:
    """The progress of the running task, and how long tasks ran and waited."""

    __slots__ = ("_memory", "_words")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        #: Words are written by one store: `pack_into` first clears what it is about to write, and a
        #: reader would take the zero in between for a version.
        self._words = memory.cast("q")

    # -- the worker writes --------------------------------------------------------------------

    def ran(self, count: int, each: int) -> None:
        """Count tasks that ran for so many nanoseconds each."""
        self._count(_RUNS, count, each)

    def waited(self, count: int, each: int) -> None:
        """Count tasks that had waited for so many nanoseconds each."""
        self._count(_WAITS, count, each)

    def count_reports(self, made: int, lost: int) -> None:
        """Count error reports that were made and lost."""
        self._words[_REPORTS] += made
        self._words[_REPORTS + 1] += lost

    def count_redeliveries(self, count: int) -> None:
        """Count messages that were delivered before."""
        self._words[_REDELIVERIES] += count

    def count_error(self) -> None:
        """Count a call that a backend did not answer, or rejected."""
        self._words[_ERRORS] += 1

    def advance(self, seq: int, begun: int, done: float, total: float, note: str) -> None:
        """Record the progress of the running task."""
        memory = self._memory
        text = note[:_NOTE_CHARS].encode("utf-8", "replace")
        # The version is odd while this is written. A task interrupted here leaves it odd until the next call.
        version = self._words[_VERSION] | 1
        self._words[_VERSION] = version
        _STEP.pack_into(memory, _PROGRESS + _WORD.size, seq * TAG + begun, done, total, len(text))
        memory[_NOTE : _NOTE + len(text)] = text
        self._words[_VERSION] = version + 1

    def _count(self, start: int, count: int, each: int) -> None:
        self._words[start // _WORD.size + bucket(each)] += count

    # -- the supervisor reads -----------------------------------------------------------------

    def progress(self, seq: int, begun: int) -> Progress | None:
        """Return the progress of a running task, None if it has reported none."""
        if self._words[PROGRESS_OF] != seq * TAG + begun:
            return None
        memory = self._memory
        # A writer is done within a microsecond, unless it was suspended; then the next call reads it.
        for _ in range(3):
            version = self._words[_VERSION]
            tag, done, total, size = _STEP.unpack_from(memory, _PROGRESS + _WORD.size)
            note = bytes(memory[_NOTE : _NOTE + size])
            if version % 2 == 0 and self._words[_VERSION] == version:
                if tag != seq * TAG + begun or not (math.isfinite(done) and math.isfinite(total)):
                    return None
                return Progress(done=done, total=total, note=note.decode("utf-8", "replace"))
        return None

    def reports(self) -> tuple[int, int]:
        """Return how many error reports were made and lost since the page was created."""
        return self._words[_REPORTS], self._words[_REPORTS + 1]

    @property
    def redeliveries(self) -> int:
        """How many messages were delivered before, since the page was created."""
        return self._words[_REDELIVERIES]

    @property
    def errors(self) -> int:
        """How many calls of a backend failed, since the page was created."""
        return self._words[_ERRORS]

    def runs(self) -> Sequence[int]:
        """Return how many tasks ran for how long, by bucket, since the page was created."""
        return _COUNTS.unpack_from(self._memory, _RUNS)

    def usual_run(self) -> float:
        """Return the seconds that a run of this slot has taken on the average, 0 = none has run."""
        found = durations(self.runs())
        return found.total / sum(found.counts) if found.counts else 0.0

    def waits(self) -> Sequence[int]:
        """Return how many tasks had waited for how long, by bucket, since the page was created."""
        return _COUNTS.unpack_from(self._memory, _WAITS)


def bucket(nanoseconds: int) -> int:
    """Return the bucket that so many nanoseconds fall into."""
    if nanoseconds < _LEAST:
        return 0
    bits = nanoseconds.bit_length()
    found = 2 * (bits - _LEAST_BITS) + (nanoseconds >> (bits - 2) & 1)
    return found if found < _BUCKETS else _BUCKETS - 1


def middle(bucket: int) -> float:
    """Return the seconds that a bucket stands for."""
    octave, half = divmod(bucket, 2)
    return float(_LEAST * 2**octave * math.sqrt(3.0 if half else 1.5) / 1e9)


def longest(bucket: int) -> float:
    """Return the seconds that a bucket ends before."""
    octave, half = divmod(bucket, 2)
    return float(_LEAST * 2**octave * (2.0 if half else 1.5) / 1e9)


def durations(counts: Sequence[int]) -> Durations:
    """Return counts by bucket with what the buckets stand for, without those that are empty."""
    found = [number for number, count in enumerate(counts) if count > 0]
    return Durations(
        bounds=tuple(map(longest, found)),
        counts=tuple(counts[number] for number in found),
        total=sum(counts[number] * middle(number) for number in found),
    )


def spread(counts: Sequence[int]) -> Percentiles | None:
    """Return the median and the 99th percentile of counts by bucket, None if there are none."""
    whole = sum(counts)
    if whole <= 0:
        return None
    found = []
    for part in (0.5, 0.99):
        passed = 0
        for number, count in enumerate(counts):
            passed += count
            if passed >= whole * part:
                found.append(middle(number))
                break
    return Percentiles(p50=found[0], p99=found[1])

"""What is counted of the tasks of each name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import attrs

from qcore.model import Action, Kind
from qcore.status import TIME_BOUNDS, TaskCounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

#: Names that are counted apart, and their rows: one for each queue of a name. What others do is counted
#: together, under `OTHER`.
MAX_NAMES: Final = 64
MAX_ROWS: Final = 2 * MAX_NAMES
OTHER: Final = "(other)"

#: Places of a histogram of durations, and the first bound: seconds from which a run is placed by itself.
PLACES: Final = len(TIME_BOUNDS) + 1
SLOW: Final = TIME_BOUNDS[0]
_SLOW_BITS: Final = 20

_WORD: Final = struct.calcsize("q")
#: Bytes of a name that are kept: one that is longer is counted with those that begin like it.
_NAME_BYTES: Final = 128
_QUEUE_BYTES: Final = 64
_KINDS: Final = tuple(Kind)
_COLUMN: Final = {kind: column for column, kind in enumerate(_KINDS)}
#: The words of a row: the length of the name, the name, the queue, the runs by kind, and those below.
_NAME: Final = 1
_QUEUE: Final = _NAME + _NAME_BYTES // _WORD
_RUNS: Final = _QUEUE + _QUEUE_BYTES // _WORD
_LEFT: Final = _RUNS + len(_KINDS)
_RETRIES: Final = _LEFT + 1
_DEAD_LETTERS: Final = _RETRIES + 1
_NANOSECONDS: Final = _DEAD_LETTERS + 1
_FAILED_NANOSECONDS: Final = _NANOSECONDS + 1
_WAITED_NANOSECONDS: Final = _NANOSECONDS + 2
#: How many runs that succeeded, runs that did not, and waits were how long.
_SUCCESS_TIMES: Final = _NANOSECONDS + 3
_FAILED_TIMES: Final = _SUCCESS_TIMES + PLACES
_WAIT_TIMES: Final = _FAILED_TIMES + PLACES
_ROW: Final = _WAIT_TIMES + PLACES
#: The largest value of a word, and the seconds above which a time is none: 31 years.
_MOST: Final = 2**63 - 1
_LONGEST: Final = 1e9
#: Bytes of a table; its last row is for the others.
TALLIES: Final = (MAX_ROWS + 1) * _ROW * _WORD

#: the name of a task and its queue, as brokers know it
_Key = tuple[str, str]
_OTHERS: Final[_Key] = (OTHER, "")


class Tallies:
    """A table in memory that one process writes and another may read; its counts only ever grow."""

    __slots__ = ("_memory", "_rows", "_words")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        #: each is written by one store, so a reader sees the old or the new value
        self._words = memory.cast("q")
        #: where a row begins; the writer's own, read from the memory when it first counts
        self._rows: dict[_Key, int] | None = None

    def add(
        self,
        name: str,
        kind: Kind,
        count: int = 1,
        *,
        queue: str | None = None,
        seconds: float = 0.0,
        slow: Sequence[float] = (),
        waited: float = 0.0,
        action: Action = Action.ACK,
    ) -> None:
        """Count runs of a task that ended alike.

        Args:
            name: of the task.
            kind: how they ended.
            count: how many they are.
            queue: which their messages were on; None = `default`.
            seconds: for which they ran, together; 0 = they did not run, or for a time that is not known.
            slow: the seconds of those of them that took `SLOW` or more.
            waited: seconds for which each waited; 0 = not known.
            action: what becomes of their messages.

        """
        row, words = self._row(name, queue or ""), self._words
        words[row + _RUNS + _COLUMN[kind]] += count
        # A clock that is set while a task runs makes its time negative, or longer than a word can be.
        if 0 < seconds < _LONGEST:
            times = _SUCCESS_TIMES
            if kind is not Kind.SUCCESS:
                self._grow(row + _FAILED_NANOSECONDS, seconds)
                times = _FAILED_TIMES
            self._grow(row + _NANOSECONDS, seconds)
            words[row + times] += count - len(slow)
            for each in slow:
                words[row + times + place(each)] += 1
        self._add_waits(row, waited, count)
        if action is Action.RETRY:
            words[row + _RETRIES] += count
        elif action is Action.DEAD_LETTER:
            words[row + _DEAD_LETTERS] += count
        if action is Action.ACK or action is Action.DEAD_LETTER:
            words[row + _LEFT] += count

    def add_waits(self, name: str, waited: float, count: int, *, queue: str | None = None) -> None:
        """Count how long runs had waited that are counted already; 0 = not known."""
        self._add_waits(self._row(name, queue or ""), waited, count)

    def _add_waits(self, row: int, waited: float, count: int) -> None:
        if 0 < waited * count < _LONGEST:
            self._grow(row + _WAITED_NANOSECONDS, waited * count)
            self._words[row + _WAIT_TIMES + place(waited)] += count

    def _grow(self, at: int, seconds: float) -> None:
        self._words[at] = min(self._words[at] + int(seconds * 1e9), _MOST)

    def read(self) -> Mapping[str, TaskCounts]:
        """Return what was counted, by name."""
        return _by_name(self.rows())

    def rows(self) -> Iterator[tuple[_Key, TaskCounts]]:
        """Yield what was counted, by name and queue."""
        for key, row in self._find().items():
            yield key, self._counts(row)

    def _row(self, name: str, queue: str) -> int:
        if self._rows is None:
            # The worker before in this slot has counted here.
            self._rows = self._find()
        row = self._rows.get((name, queue))
        return self._make(_kept(name, queue), self._rows) if row is None else row

    def _make(self, key: _Key, rows: dict[_Key, int]) -> int:
        """Return a row that may be new; names that get none are not kept, for any may be sent."""
        if not _fits(key, rows):
            key = _OTHERS
        if key not in rows:
            used = MAX_ROWS if key == _OTHERS else len(rows) - (_OTHERS in rows)
            row = rows[key] = used * _ROW
            text, queue = (one.encode() for one in key)
            for at, data in ((row + _NAME, text), (row + _QUEUE, queue)):
                self._memory[at * _WORD : at * _WORD + len(data)] = data
            # Last, because a row with a name is read.
            self._words[row] = len(text)
        return rows[key]

    def _find(self) -> dict[_Key, int]:
        found = {}
        for row in range(0, (MAX_ROWS + 1) * _ROW, _ROW):
            if size := self._words[row]:
                name = self._text(row + _NAME, size)
                found[name, self._text(row + _QUEUE, _QUEUE_BYTES).rstrip("\0")] = row
        return found

    def _text(self, at: int, size: int) -> str:
        return bytes(self._memory[at * _WORD : at * _WORD + size]).decode("utf-8", "replace")

    def _counts(self, row: int) -> TaskCounts:
        words = self._words
        runs = {kind.value: words[row + _RUNS + column] for column, kind in enumerate(_KINDS)}
        return TaskCounts(
            runs={kind: count for kind, count in runs.items() if count},
            left=words[row + _LEFT],
            retries=words[row + _RETRIES],
            dead_letters=words[row + _DEAD_LETTERS],
            seconds=words[row + _NANOSECONDS] / 1e9,
            failed_seconds=words[row + _FAILED_NANOSECONDS] / 1e9,
            waited_seconds=words[row + _WAITED_NANOSECONDS] / 1e9,
            success_times=self._times(row + _SUCCESS_TIMES),
            failed_times=self._times(row + _FAILED_TIMES),
            wait_times=self._times(row + _WAIT_TIMES),
        )

    def _times(self, start: int) -> tuple[int, ...]:
        """Return a histogram without the empty places at its end."""
        words = self._words
        end = start + PLACES
        while end > start and not words[end - 1]:
            end -= 1
        return tuple(words[start:end])


def place(seconds: float) -> int:
    """Return the place of a duration among the `TIME_BOUNDS`: it is shorter than that bound."""
    bits = (int(min(seconds, _LONGEST) * 1e9) >> _SLOW_BITS).bit_length()
    return min(bits, PLACES - 1)


def _kept(name: str, queue: str) -> _Key:
    return _cut(name, _NAME_BYTES) or "(none)", _cut(queue, _QUEUE_BYTES)


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


def _fits(key: _Key, rows: Collection[_Key]) -> bool:
    """Return whether there is a row for a name and queue."""
    used = len(rows) - (_OTHERS in rows)
    if key in rows or used < MAX_NAMES:
        return True
    names = {name for name, _ in rows} - {OTHER}
    return used < MAX_ROWS and (key[0] in names or len(names) < MAX_NAMES)


def _by_name(rows: Iterable[tuple[_Key, TaskCounts]]) -> Mapping[str, TaskCounts]:
    found: dict[str, TaskCounts] = {}
    for (name, queue), counts in rows:
        part = attrs.evolve(counts, queues={queue: counts}) if queue else counts
        found[name] = found[name].plus(part) if name in found else part
    return found


class TalliesSum:
    """Adds up the tables of a cluster, with no more names and queues than one of them has."""

    def __init__(self, tables: Iterable[Tallies]) -> None:
        self._tables = tuple(tables)
        #: a row stays once it was there, because a count that shrinks passes for a restart
        self._keys: set[_Key] = set()

    def read(self) -> Mapping[str, TaskCounts]:
        """Return what all tables have counted, by name."""
        return _by_name((self._kept(key), counts) for table in self._tables for key, counts in table.rows())

    def _kept(self, key: _Key) -> _Key:
        if not _fits(key, self._keys):
            return _OTHERS
        self._keys.add(key)
        return key

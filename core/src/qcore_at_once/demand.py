"""How many messages a worker leases while tasks run in it."""

from __future__ import annotations

import math
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from qcore_at_once.cell_runs import CellRun

#: Cells beyond those of the running tasks, for messages that begin as soon as one of them ends.
AHEAD: Final = 128
#: Seconds of work that may wait in this worker, so that no place stays empty during a round trip.
_BUFFER: Final = 0.015
#: Seconds before the usual end of a task at which a message is leased for its place.
_BEFORE: Final = 0.01
#: Seconds behind its usual end after which a task is one that takes longer.
_LATE: Final = 0.01
#: The part of the running tasks that is waited for, so that not each has a round trip of its own.
_PART: Final = 4
#: Seconds for which this worker leases less after it has released what could not begin.
_REST: Final = 0.25
#: How much the newest run counts in an average, at least.
_WEIGHT: Final = 0.1
#: Seconds that a run is taken to last before any has ended.
_UNKNOWN: Final = 1.0
#: The least average of a run that is reckoned with, seconds.
_LEAST: Final = 1e-5


class Demand:
    """Learns how long tasks take, and which part of them is asynchronous."""

    def __init__(self, *, many_threads: bool, usual: float = 0.0) -> None:
        """Begin with the seconds that runs took in the workers before this one, 0 = not known."""
        self._average = usual or _UNKNOWN
        #: how many runs the average is of; the first ones count fully, for those beside them end soon after
        self._count = 1 if usual else 0
        self._async_part = 0.0 if many_threads else 1.0
        #: monotonic seconds until nothing is leased, and until no more is leased than can begin
        self._rest_until = self._exact_until = 0.0

    def saw(self, *, is_async: bool) -> None:
        """Take in that a message was leased."""
        self._async_part += (is_async - self._async_part) * _WEIGHT

    def ran(self, nanoseconds: int) -> None:
        """Take in that a task has run."""
        self._count += 1
        self._average += (nanoseconds / 1e9 - self._average) * max(_WEIGHT, 1 / self._count)

    def released(self, coroutines: int, threads: int) -> None:
        """Take in that messages were released which could not begin, while so many places were free.

        For a moment this worker leases no more than can begin. It leases nothing if it had places, for
        tasks of the other kind: it would get the same messages again, and they are for another worker.
        """
        until = time.monotonic() + _REST
        if round(self._room(coroutines, threads)):
            self._rest_until = until
        self._exact_until = until

    def wanted(self, coroutines: int, threads: int, runs: Collection[CellRun], held: int) -> int:
        """Return how many messages to lease.

        Args:
            coroutines: places for coroutines that are free.
            threads: places for plain functions that are free.
            runs: tasks that run, the oldest first.
            held: messages that wait for a place.

        """
        now = time.monotonic()
        if now < self._rest_until:
            return 0
        room = self._room(coroutines, threads)
        ahead = 0.0
        if now >= self._exact_until:
            short = self._average <= _BEFORE
            # what began together ends together: of longer tasks it matters when each began
            ahead = (room + len(runs)) * _BUFFER / max(self._average, _LEAST) if short else self._ending(runs)
        found = round(room) + min(int(ahead), AHEAD) - held
        return 1 if found <= 0 < room and not held else max(0, found)

    def _ending(self, runs: Collection[CellRun]) -> int:
        """Return how many tasks end soon if they take as long as others; those that are late do not count."""
        began = time.monotonic_ns() - int(self._average * 1e9)
        earliest, latest = began - int(_LATE * 1e9), began + int(_BEFORE * 1e9)
        count = 0
        for one in runs:
            if one.started > latest:
                break  # those behind it have begun later
            count += one.started >= earliest
        return count

    def until_many_end(self, runs: Collection[CellRun]) -> float:
        """Return the seconds until a part of the tasks ends so soon that messages are leased for it.

        The oldest are first, so few are looked at, however many run.
        """
        if self._average <= _BEFORE:
            return math.inf
        latest = time.monotonic_ns() - int((self._average - _BEFORE) * 1e9)
        soon = 0
        for one in runs:
            if one.started > latest:
                break
            soon += 1
        at = next(islice(runs, soon + (len(runs) - soon) // _PART, None), None)
        return math.inf if at is None else (at.started - latest) / 1e9

    def _room(self, coroutines: int, threads: int) -> float:
        """Return how many messages may begin, as far as is known what they are."""
        return coroutines * self._async_part + threads * (1 - self._async_part)

"""Which dead letters are too many, or too old, to be kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs

from qcore_text.wording import counted

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import DeadLetter

#: Dead letters read in one call and removed in one call.
_PAGE: Final = 1000
#: The same where a body may be large, so that a page of them has room in memory.
_SMALL_PAGE: Final = 100
#: Bytes, see above.
_LARGE: Final = 1 << 20
#: Most new ones that are read at a time; the next time goes on behind them.
_READ: Final = 50_000
#: Seconds after which it is asked again which have become too old.
_AGE: Final = 3600.0


class Allowance:
    """So many in a time."""

    def __init__(self, limit: int, period: float) -> None:
        """Allow `limit` in `period` seconds; -1 = any number."""
        self._limit = limit
        self._period = period
        #: how many since when, in monotonic seconds
        self._count = 0
        self._since = 0.0

    def take(self) -> bool:
        """Return whether one more is allowed."""
        now = time.monotonic()
        if now - self._since >= self._period:
            self._since, self._count = now, 0
        self._count += 1
        return self._limit < 0 or self._count <= self._limit


@attrs.frozen
class Bound:
    """How many dead letters of one kind are kept, and how long."""

    #: what they are, behind their number
    what: str
    #: the settings of the next two, for the log
    settings: str
    #: how many of the newest; -1 = all, whatever their age
    limit: int
    #: seconds, None = without end
    ttl: float | None
    #: whether a dead letter is one of them
    holds: Callable[[DeadLetter], bool]
    #: at which it is logged
    level: int


class _Kind:
    """What is known of the dead letters of one bound."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        #: about how many there are: others may have requeued or dropped some
        self.count = 0
        #: id of a dead letter before which none of them is, None = there may be from the oldest on
        self.after: str | None = None

    def is_over(self) -> bool:
        """Return whether there are so many that they are worth to be counted."""
        return self.count > self.bound.limit + self.bound.limit // 10


class DeadLetterBounds:
    """Removes the oldest dead letters of some kinds, and none of another kind.

    What is new is read once, and where there are too many of a kind, all of them are read once more.
    """

    def __init__(
        self, bounds: Sequence[Bound], log: logging.Logger, clock: Callable[[], float] = time.time
    ) -> None:
        self._kinds = [_Kind(one) for one in bounds if one.limit >= 0]
        self._log = log
        self._clock = clock
        #: how many were read, and the last of them
        self._read = 0
        self._last: str | None = None
        #: when the old ones were removed, epoch seconds
        self._aged = 0.0

    def prune(self, broker: Broker) -> int:
        """Remove what is too much or too old; return how many."""
        if not self._kinds or not broker.capabilities.dead_letters:
            return 0
        now, count = self._clock(), broker.size().dead_letters or 0
        before = count
        if count and now - self._aged > _AGE:
            self._aged = now
            count -= self._remove_old(broker, now)
        # Somebody may have requeued or dropped some.
        self._read = min(self._read, count)
        # Below the smallest bound none need be read: that takes long at some services.
        if count > max(self._read, min(one.bound.limit for one in self._kinds)):
            self._read_on(broker)
        for kind in self._kinds:
            if kind.is_over():
                count -= self._shorten(broker, kind)
        self._read = min(self._read, count)
        return before - count

    def _read_on(self, broker: Broker) -> None:
        """Count what is new."""
        before = self._read
        for letter in _letters(broker, self._last):
            self._last = letter.id
            self._read += 1
            for kind in self._kinds:
                kind.count += kind.bound.holds(letter)
            if self._read - before >= _READ:
                break
        if self._read == before:
            # What was read last is gone, and some services do not know what was behind it.
            self._last, self._read = None, 0
            for kind in self._kinds:
                kind.count, kind.after = 0, None

    def _shorten(self, broker: Broker, kind: _Kind) -> int:
        """Remove the oldest of a kind that are too many."""
        bound = kind.bound
        kind.count = sum(map(bound.holds, _letters(broker, kind.after)))
        if kind.after and not kind.count:
            # That one is gone, and some services do not know what was behind it.
            kind.after = None
            kind.count = sum(map(bound.holds, _letters(broker, None)))
        surplus = max(0, kind.count - bound.limit)
        ids: list[str] = []
        removed = 0
        for letter in _letters(broker, kind.after) if surplus else ():
            if bound.holds(letter):
                if surplus <= 0:
                    break
                surplus -= 1
                ids.append(letter.id)
            else:
                kind.after = letter.id
            if len(ids) >= _PAGE:
                removed += broker.delete(ids)
                ids = []
        removed += broker.delete(ids) if ids else 0
        self._tell(kind, removed)
        return removed

    def _remove_old(self, broker: Broker, now: float) -> int:
        """Remove those that are too old; they are the first of all."""
        ages = [one.bound.ttl for one in self._kinds if one.bound.ttl is not None]
        removed = 0
        found: dict[_Kind, list[str]] = {kind: [] for kind in self._kinds}
        for letter in _letters(broker, None) if ages else ():
            if letter.dead_since > now - min(ages):
                break
            for kind, ids in found.items():
                ttl = kind.bound.ttl
                if ttl is not None and 0 < letter.dead_since < now - ttl and kind.bound.holds(letter):
                    ids.append(letter.id)
        for kind, ids in found.items():
            some = sum(broker.delete(ids[start : start + _PAGE]) for start in range(0, len(ids), _PAGE))
            self._tell(kind, some)
            removed += some
        return removed

    def _tell(self, kind: _Kind, removed: int) -> None:
        if removed:
            kind.count = max(0, kind.count - removed)
            bound = kind.bound
            text = "%s %s removed, the newest %d are kept (%s)"
            self._log.log(
                bound.level, text, counted(removed, "dead letter"), bound.what, bound.limit, bound.settings
            )


def _letters(broker: Broker, after: str | None) -> Iterator[DeadLetter]:
    """Yield the dead letters behind one, oldest first."""
    most = broker.capabilities.max_bytes
    size = _PAGE if most and most <= _LARGE else _SMALL_PAGE
    while True:
        page = broker.dead_letters(size, after)
        yield from page
        if len(page) < size:
            return
        after = page[-1].id

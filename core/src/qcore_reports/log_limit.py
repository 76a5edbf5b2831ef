"""Decides how often one kind of log line is written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Hashable

#: most kinds that are counted apart
_KINDS: Final = 100


@attrs.define
class _Kind:
    """What is known about one kind of line."""

    level: int
    #: monotonic seconds of the last line
    written: float
    #: lines left out since
    left_out: int = 0
    #: the latest text
    text: str = ""


class LogLimit:
    """Writes the first line of a kind at once, then at most one in a period, with a count."""

    def __init__(
        self, log: logging.Logger, period: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `log` at most one line of a kind in `period` seconds."""
        self._log = log
        self._period = period
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def write(self, level: int, kind: Hashable, text: str) -> None:
        """Write a line, or count it."""
        now = self._clock()
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= _KINDS:
                self.flush()
                self._kinds.clear()
            found = self._kinds[kind] = _Kind(level, now - self._period)
        found.text = text
        if now - found.written < self._period:
            found.left_out += 1
        else:
            self._write(found, now)

    def flush(self, *, due: bool = False) -> None:
        """Write the counts of lines that were left out; with `due` only those whose period is over."""
        now = self._clock()
        for kind in self._kinds.values():
            if kind.left_out and (not due or now - kind.written >= self._period):
                kind.left_out -= 1
                self._write(kind, now)

    def _write(self, kind: _Kind, now: float) -> None:
        since = f" (and {kind.left_out} more like it since the last line)" if kind.left_out else ""
        self._log.log(kind.level, "%s%s", kind.text, since)
        kind.written, kind.left_out = now, 0

"""What stands before a message's body: counters Disque has no place for."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

#: mark, failures, crashes, deliveries before it was added, epoch seconds, length of the reason
_HEAD: Final = struct.Struct(">BHHHdH")
#: first byte of what we have written; an envelope begins with a letter
_MARK: Final = 1
_MOST: Final = 0xFFFF
#: epoch seconds beyond which there is no date
_LAST: Final = 253_402_300_799.0
#: bytes of a reason that are kept
_REASON: Final = 1000


class Item(NamedTuple):
    """One job as it is written."""

    body: bytes
    failures: int = 0
    crashes: int = 0
    deliveries: int = 0
    #: epoch seconds: of its burial, for a dead letter
    written_at: float = 0.0
    reason: str = ""

    def write(self) -> bytes:
        """Return it as a job's body."""
        reason = self.reason.encode("utf-8", "replace")[:_REASON]
        counters = (min(count, _MOST) for count in (self.failures, self.crashes, self.deliveries))
        return _HEAD.pack(_MARK, *counters, self.written_at, len(reason)) + reason + self.body

    @classmethod
    def read(cls, data: bytes) -> Item:
        """Return what a job's body tells; one that somebody else has added is only a body."""
        if len(data) < _HEAD.size or data[0] != _MARK:
            return cls(data)
        _, failures, crashes, deliveries, written_at, size = _HEAD.unpack_from(data)
        # who else writes may write anything: a time that no clock shows is none
        written_at = written_at if 0 <= written_at < _LAST else 0.0
        end = _HEAD.size + size
        reason = data[_HEAD.size : end].decode("utf-8", "ignore")
        return cls(data[end:], failures, crashes, deliveries, written_at, reason)

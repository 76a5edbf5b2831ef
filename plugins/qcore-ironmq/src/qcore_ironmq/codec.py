"""What stands before a message's body: counters IronMQ has no place for."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final, NamedTuple

#: mark, failures, crashes, deliveries before it was added, epoch seconds of its burial, length of the reason
_HEAD: Final = struct.Struct(">BHHHdH")
#: first byte of what we have written; an envelope begins with a letter
_MARK: Final = 1
_MOST: Final = 0xFFFF
#: epoch seconds beyond which there is no date
_LAST: Final = 253_402_300_799.0
#: bytes of a reason that are kept
_REASON: Final = 1000


class Item(NamedTuple):
    """One message as it is written."""

    body: bytes
    failures: int = 0
    crashes: int = 0
    deliveries: int = 0
    #: epoch seconds, for a dead letter
    dead_since: float = 0.0
    reason: str = ""

    def write(self) -> bytes:
        """Return it as bytes."""
        reason = self.reason.encode("utf-8", "replace")[:_REASON]
        counters = (min(count, _MOST) for count in (self.failures, self.crashes, self.deliveries))
        return _HEAD.pack(_MARK, *counters, self.dead_since, len(reason)) + reason + self.body

    @classmethod
    def read(cls, data: bytes) -> Item:
        """Return what bytes tell; what somebody else has posted is only a body."""
        if len(data) < _HEAD.size or data[0] != _MARK:
            return cls(data)
        _, failures, crashes, deliveries, dead_since, size = _HEAD.unpack_from(data)
        # who else writes may write anything: a time that no clock shows is none
        dead_since = dead_since if 0 <= dead_since < _LAST else 0.0
        end = _HEAD.size + size
        reason = data[_HEAD.size : end].decode("utf-8", "ignore")
        return cls(data[end:], failures, crashes, deliveries, dead_since, reason)

    @classmethod
    def of_text(cls, told: str) -> Item:
        """Return what the text of a message tells."""
        try:
            return cls.read(base64.b64decode(told, validate=True))
        except (binascii.Error, ValueError):
            # half of a surrogate pair is a text to JSON, and none to UTF-8
            return cls(told.encode("utf-8", "surrogatepass"))


#: bytes that stand before a body at most
ROOM: Final = _HEAD.size + _REASON


def text(item: Item) -> str:
    """Return an item as text, which is all the service takes."""
    return base64.b64encode(item.write()).decode("ascii")

"""What a message looks like in Redis, and what a receipt says."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from qcore.model import Delivery
from qcore_plugin_support import count_of
from qcore_redis import routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qcore.model import Outgoing

#: said where the answer to an enqueue was lost
UNKNOWN_OUTCOME: Final = "the messages may have been accepted all the same"

#: bodies larger than this lie in a key of their own: moving them about would cost more
LARGE: Final = 4096
#: bytes of the id of such a body
BODY_ID: Final = 12

COUNTED, APART = 1, 2
#: the flags; and an item that is not a message, only a call to look for what is due
_FLAGS: Final = frozenset(range(4))
_NUDGE: Final = b"\4"
#: seconds since 1970 that no clock of ours shows
_FAR_OFF: Final = 1e11
_COUNTERS: Final = struct.Struct(">IIId")
_HEADER: Final = 1 + _COUNTERS.size
#: in the index of a receipt: the body lies apart
_FAR: Final = 0x8000
_index = struct.Struct(">H").pack
#: random bytes and a number behind the owner in a token
_TAIL: Final = 8 + 4


def token(owner: bytes, process: bytes, number: int) -> bytes:
    """Return the name of a lease; one owner's begin alike."""
    return owner_prefix(owner) + process + number.to_bytes(4, "big")


def owner_prefix(owner: bytes) -> bytes:
    """Return what the names of an owner's leases begin with."""
    return bytes([len(owner)]) + owner


def words(messages: Sequence[Outgoing], stored: Iterable[bytes] = ()) -> Iterator[bytes | int]:
    """Yield the arguments of `put.lua` for each message.

    Args:
        messages: to be put in.
        stored: the ids of the large bodies that are stored already.

    """
    ids = iter(stored)
    for message in messages:
        delay = max(0, round(message.delay * 1000))
        routed = message.queue or message.priority
        yield routes.route(message) + b"%d" % delay if routed else delay
        if len(message.body) <= LARGE:
            yield b""
        elif id_ := next(ids, b""):
            yield id_
            yield b""
            continue
        else:
            yield os.urandom(BODY_ID)
        yield message.body


def far_item(body_id: bytes) -> bytes:
    """Return the item of a message whose body lies apart."""
    return b"\2" + body_id


def deliveries(token: bytes, items: list[bytes], empty: list[int]) -> list[Delivery]:
    """Return what a lease holds, bodies that lie apart by their ids; where nothing is goes into `empty`."""
    found = []
    for index, item in enumerate(items):
        try:
            flags = item[0]
        except IndexError:
            empty.append(index)
            flags = 0
        if not flags:
            found.append(Delivery(item[1:], token + _index(index)))
        elif item != _NUDGE:
            found.append(_returned(token, index, item, flags))
    return found


def _returned(token: bytes, index: int, item: bytes, flags: int) -> Delivery:
    if flags == routes.ROUTED and (size := routes.size(item)):
        item = item[size:]
        flags = item[0] if item else 0
        if not flags:
            return Delivery(item[1:], token + _index(index))
    if flags not in _FLAGS or (flags & COUNTED and len(item) < _HEADER):
        # not put there by us: whoever leases it judges
        return Delivery(item, token + _index(index))
    receipt = token + _index(index | _FAR if flags & APART else index)
    if not flags & COUNTED:
        return Delivery(item[1:], receipt)
    count, failures, crashes, available = _COUNTERS.unpack_from(item, 1)
    if not 0 <= available < _FAR_OFF:
        available = 0.0
    return Delivery(item[_HEADER:], receipt, count + 1, count_of(failures), count_of(crashes), available)


def is_far(receipt: bytes) -> bool:
    """Return whether the body of a delivery lies apart."""
    return receipt[-2] >= 0x80


def is_receipt(receipt: bytes) -> bool:
    """Return whether it may be one of ours."""
    return len(receipt) > _TAIL and len(receipt) == 1 + receipt[0] + _TAIL + 2

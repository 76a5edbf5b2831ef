"""What names the queue and the priority of an item in Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Outgoing
    from qcore_redis.client import Client

#: the first byte of an item that has a route, see `prelude.lua`
ROUTED: Final = 8
#: added to a priority, so that none is below 1
_UP: Final = 101
_HEAD: Final = 3
_route: Final = re.compile(rb"\x08[\x01-\xc9](.)([A-Za-z0-9_.-]*)", re.DOTALL)

#: all queues, by priority
ALL: Final = b"*"


def route(message: Outgoing) -> bytes:
    """Return what stands before an item of another queue or priority than the default."""
    name = message.queue.encode()
    return bytes((ROUTED, message.priority + _UP, len(name))) + name


def size(item: bytes) -> int:
    """Return how many bytes the route of an item has; 0 = it has none, or one that we have not written."""
    found = _route.match(item)
    if found is None or len(found[2]) < found[1][0]:
        return 0
    return _HEAD + found[1][0]


def order(names: Sequence[str] | None) -> bytes:
    """Return the argument of a lease that says from which queues; None = from all."""
    return ALL if names is None else b",".join(name.encode() or b"=" for name in names)


def streams(link: Client, prefix: bytes) -> list[bytes]:
    """Return the names of the lists of all streams, as scripts take them."""
    return [b"q:" + name for name in link.call(b"ZRANGE", prefix + b"qs", 0, -1)]

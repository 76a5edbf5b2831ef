"""Which keys signed the messages of a queue."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from qcore_redis import routes
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from qcore_redis.client import Client

#: messages seen in one step: the workers want the server meanwhile
_SEEN: Final = 1000


def counted(link: Client, prefix: bytes) -> Counter[bytes]:
    """Count messages, except dead letters, by the key that signed them."""
    found: Counter[bytes] = Counter(link.run(script("key_ids"), "l", 0, 0)[1:])
    for where in (b"d", b"q", *routes.streams(link, prefix)):
        at = 0
        while True:
            seen, *keys = link.run(script("key_ids"), where, at, _SEEN)
            found.update(keys)
            at += seen
            if seen < _SEEN:
                break
    return found

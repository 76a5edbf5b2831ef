"""How messages are removed from a queue that others use meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore_redis import routes
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_redis.client import Client

#: ids that are looked for at once
_IDS: Final = 5000
#: messages among which one is looked for, which the server does in about ten milliseconds
_MAX_SEARCHED: Final = 10_000
#: messages seen in one step, fewer if they are large: the workers want the server meanwhile
_SEEN: Final = 1000
#: what the script returns at the end if there are other queues or priorities
_STREAMS: Final = -2
#: said where the answer was lost
_UNKNOWN_OUTCOME: Final = "some of the messages may have been removed all the same"


def find_messages(link: Client, ids: Sequence[bytes]) -> list[bytes] | None:
    """Return the ids that messages in any state bear, None if there are too many messages."""
    known = [id_ for id_ in ids if id_]
    found: list[bytes] | None = link.run(script("find"), _MAX_SEARCHED, *known)
    return found


def remove_messages(link: Client, prefix: bytes, ids: Sequence[bytes]) -> list[bytes]:
    """Remove what is delayed or ready of these ids; return the bodies."""
    bodies: list[bytes] = []
    # a message that is too short for an id bears an empty one
    known = [id_ for id_ in ids if id_]
    for start in range(0, len(known), _IDS):
        wanted = known[start : start + _IDS]
        # What is due meanwhile moves to the front of the ready ones, which is seen last.
        _remove(link, b"d", wanted, bodies)
        if _remove(link, b"q", wanted, bodies):
            for stream in routes.streams(link, prefix):
                _remove(link, stream, wanted, bodies)
    return bodies


def _remove(link: Client, where: bytes, wanted: Sequence[bytes], bodies: list[bytes]) -> bool:
    """Remove messages of one place; return whether there are other queues or priorities."""
    seen = taken = 0
    while seen >= 0:
        seen, taken, *found = link.run(
            script("leases", "remove"), where, seen, taken, _SEEN, *wanted, unknown_outcome=_UNKNOWN_OUTCOME
        )
        bodies += found
    return seen == _STREAMS

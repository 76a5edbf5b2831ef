"""Which keys the clusters of a queue have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

#: bytes of the id of a key
SIZE: Final = 4
#: bytes before the record in what is signed: the id of the key, and the signature
_HEAD: Final = SIZE + 32
#: bytes of a list of ids that may be ours
_LONGEST: Final = 64 * SIZE


class _Status(msgspec.Struct):
    """What is read of the status of a cluster whose signature cannot be verified."""

    #: ids of the keys that it accepts, hexadecimal
    keys: list[str] = []


_read = msgspec.json.Decoder(_Status).decode


def split(joined: bytes) -> frozenset[bytes]:
    """Return the ids that `joined` is made of; none if it is not ours."""
    if len(joined) % SIZE or len(joined) > _LONGEST:
        return frozenset()
    return frozenset(joined[start : start + SIZE] for start in range(0, len(joined), SIZE))


def named(ids: Iterable[bytes]) -> str:
    """Return ids in words."""
    return " and ".join(sorted(one.hex() for one in ids))


def accepted(statuses: Iterable[bytes]) -> frozenset[bytes]:
    """Return the ids of the keys that clusters accept, by what they publish, which is not verified.

    It says which key a message should have, and so it must be read by who has another one. Somebody who
    can forge it can make a program warn, and no more.
    """
    found: set[bytes] = set()
    for one in statuses:
        try:
            found.update(bytes.fromhex(key) for key in _read(one[_HEAD:]).keys)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue
    return frozenset(key for key in found if len(key) == SIZE)

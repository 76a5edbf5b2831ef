"""How dead letters are listed, made ready again and removed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from qcore.model import DeadLetter
from qcore_redis import routes
from qcore_redis.codec import APART
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_redis.client import Client

#: dead letters in one step
_BULK: Final = 1000
#: when it was dead-lettered, failures, crashes, length of the reason
_LETTER: Final = struct.Struct(">dIII")
#: the reason of what was put among the dead letters by somebody else
_NONE: Final = "not from qcore: it was put among the dead letters and is none"
#: seconds since 1970 that no clock of ours shows
_FAR_OFF: Final = 1e11


def listed(link: Client, prefix: bytes, limit: int, after: str | None) -> list[DeadLetter]:
    """Return dead letters, oldest first, from behind `after`."""
    behind = "0" if after is None else after
    if after is not None and not (after.isascii() and after.isdigit() and after.strip("0")):
        return []
    found = link.run(script("dead_letters"), behind, limit)
    pairs = zip(found[::2], found[1::2], strict=True)
    return [_letter(link, prefix, id_.decode(), text) for id_, text in pairs]


def end(link: Client, how: str, ids: Sequence[str]) -> int:
    """Requeue or delete dead letters; return how many there were."""
    count = 0
    for start in range(0, len(ids), _BULK):
        count += link.run(script("requeue_or_delete"), how, *ids[start : start + _BULK])
    return count


def _letter(link: Client, prefix: bytes, id_: str, text: bytes) -> DeadLetter:
    if len(text) <= _LETTER.size:
        return DeadLetter(id_, text, _NONE, 0.0, 0, 0)
    at, failures, crashes, length = _LETTER.unpack_from(text)
    start = _LETTER.size + length
    if len(text) <= start:
        return DeadLetter(id_, text, _NONE, 0.0, 0, 0)
    reason, item = text[_LETTER.size : start], text[start:]
    item = item[routes.size(item) :] or b"\0"
    flags, body = item[0], item[1:]
    if not 0 <= at < _FAR_OFF:
        at = 0.0
    if flags & APART:
        # unlike GET it takes a key of another kind for one that is not there
        body = link.call(b"MGET", prefix + b"b:" + body)[0] or b""
    return DeadLetter(id_, body, reason.decode(errors="replace"), at, failures, crashes)

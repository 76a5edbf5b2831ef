"""What a result looks like in Redis."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final

from qcore.model import State, StoredResult

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("qcore_redis.records")

#: state, finished, expires, id, length of the name and flags, length of the group
_HEAD: Final = struct.Struct(">Bdd16sHH")
_ENTRY: Final = struct.Struct(">dd16s")
_LENGTH: Final = struct.Struct(">H")
_NO_GROUP: Final = 0xFFFF
#: the state is written as a digit
_DIGIT: Final = ord("0")

#: bits of the length of a name, which has 256 characters at most; the flags stand above
_NAME: Final = 0x0FFF
#: the length and the text of a label stand before the body
_LABELLED: Final = 0x1000
#: it has left the group it names
_LEFT: Final = 0x2000
#: of later versions
_UNKNOWN: Final = 0xC000


def words(results: Sequence[StoredResult]) -> tuple[int, list[bytes]]:
    """Return the arguments of a script for results: their number, below zero unless all are plain."""
    packed: list[bytes] = []
    plain = len({one.id for one in results}) == len(results)
    pack = _HEAD.pack
    for one in results:
        name, id_ = one.name.encode(), one.id
        packed.append(id_)
        if one.group is None and one.label is None:
            head = pack(_DIGIT + one.state, one.finished, one.expires, id_, len(name), _NO_GROUP)
            packed.append(head + name + one.body)
        else:
            packed.append(_with_more(one, name))
            if one.group is not None:
                plain = False
        if one.state != State.SUCCESS:
            plain = False
    return len(results) if plain else -len(results), packed


def _with_more(one: StoredResult, name: bytes) -> bytes:
    group = b"" if one.group is None else one.group.encode()
    label = b"" if one.label is None else one.label.encode()
    length = len(name) if one.label is None else len(name) | _LABELLED
    size = _NO_GROUP if one.group is None else len(group)
    head = _HEAD.pack(_DIGIT + one.state, one.finished, one.expires, one.id, length, size)
    if one.label is None:
        return b"".join((head, name, group, one.body))
    return b"".join((head, name, group, _LENGTH.pack(len(label)), label, one.body))


def read(value: bytes | None, now: float) -> StoredResult | None:
    """Return the result in a value, None if there is none, it has expired or nobody can read it."""
    if value is None:
        return None
    try:
        return _read(value, now)
    except (struct.error, ValueError) as exc:
        _log.error("the result stored as %r is left out, because it cannot be read: %s", value[:50], exc)
        return None


def _read(value: bytes, now: float) -> StoredResult | None:
    state, finished, expires, id_, length, size = _HEAD.unpack_from(value)
    if 0 < expires <= now:
        return None
    start = _HEAD.size
    end = middle = start + (length & _NAME)
    group = label = None
    if size != _NO_GROUP:
        end = middle + size
        group = value[middle:end].decode()
    if length > _NAME:
        if length & _UNKNOWN:
            raise ValueError("a later version of qcore-redis may have stored it: upgrade")
        if length & _LEFT:
            group = None
        if length & _LABELLED:
            after = end + _LENGTH.size
            end = after + _LENGTH.unpack_from(value, end)[0]
            label = value[after:end].decode()
    name = value[start:middle].decode()
    return StoredResult(id_, State(state - _DIGIT), value[end:], name, group, finished, expires, label)


def entry_order(entry: bytes) -> tuple[float, bytes]:
    """Return by what entries of the list of successes are ordered in time."""
    finished, _, id_ = _ENTRY.unpack_from(entry)
    return (finished, id_)


def entry_id(entry: bytes) -> bytes:
    """Return whose entry it is."""
    id_: bytes = _ENTRY.unpack_from(entry)[2]
    return id_


def is_entry(entry: bytes) -> bool:
    """Return whether it may be an entry of ours."""
    return len(entry) >= _ENTRY.size

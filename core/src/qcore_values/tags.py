"""Decides how types that a format lacks are written and read."""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import pathlib
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from qcore.errors import EncodeError
from qcore_values.foreign import Written, read_foreign

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Tag:
    """A type that is written as a tag and a simpler value."""

    #: the tag in JSON, after a `$`
    name: str
    #: the extension type in MessagePack; a code is never reused for another type
    code: int
    type: type
    #: value -> simpler value
    write: Callable[[Any], Any]
    #: simpler value -> value; any exception means that the bytes are not valid
    read: Callable[[Any], Any]


def _zone(value: dt.datetime | dt.time) -> list[Any] | None:
    """Return the name and the offset in microseconds, which is used if the reader does not know the name."""
    if value.tzinfo is None:
        return None
    offset = value.utcoffset()
    key = getattr(value.tzinfo, "key", None)
    microseconds = None if offset is None else offset // dt.timedelta(microseconds=1)
    return [key if isinstance(key, str) else None, microseconds]


def _read_zone(zone: list[Any] | None) -> dt.tzinfo | None:
    if zone is None:
        return None
    key, microseconds = zone
    if key is not None:
        import zoneinfo  # noqa: PLC0415 - who has such values has imported it, and others start faster

        try:
            return zoneinfo.ZoneInfo(key)
        except zoneinfo.ZoneInfoNotFoundError:
            if microseconds is None:
                raise
    offset = dt.timedelta(microseconds=microseconds)
    return dt.timezone(offset) if offset else dt.UTC


def _write_moment(value: dt.datetime | dt.time) -> list[Any]:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)]


def _read_datetime(plain: list[Any]) -> dt.datetime:
    text, fold, zone = plain
    return dt.datetime.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_time(plain: list[Any]) -> dt.time:
    text, fold, zone = plain
    return dt.time.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_timedelta(plain: list[int]) -> dt.timedelta:
    days, seconds, microseconds = plain
    return dt.timedelta(days, seconds, microseconds)


def _read_complex(plain: list[float]) -> complex:
    real, imaginary = plain
    return complex(real, imaginary)


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _read_bytes(plain: str) -> bytes:
    return base64.b64decode(plain, validate=True)


def _write_text(value: str) -> str:
    return _write_bytes(value.encode("utf-8", "surrogatepass"))


def _read_text(plain: str) -> str:
    return _read_bytes(plain).decode("utf-8", "surrogatepass")


def _write_int(value: int) -> str:
    # hexadecimal, because decimal digits take quadratic time and Python limits their number
    return format(value, "x")


def _read_int(plain: str) -> int:
    return int(plain, 16)


def _read_dict(plain: list[list[Any]]) -> dict[Any, Any]:
    return {key: value for key, value in plain}  # noqa: C416 - dict() would split two-letter texts


def _pairs(value: dict[Any, Any]) -> list[list[Any]]:
    return [[key, item] for key, item in value.items()]


def _write_defaultdict(value: collections.defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORIES.values():
        msg = "the factory of a defaultdict would not arrive; pass dict() of it"
        raise EncodeError(msg)
    return [None if factory is None else cast("type", factory).__name__, _pairs(value)]


def _read_defaultdict(plain: list[Any]) -> collections.defaultdict[Any, Any]:
    factory, pairs = plain
    return collections.defaultdict(None if factory is None else _FACTORIES[factory], _read_dict(pairs))


def _read_deque(plain: list[Any]) -> collections.deque[Any]:
    items, maxlen = plain
    return collections.deque(items, maxlen)


#: what a defaultdict may be made with, so that reading one calls nothing of the user's
_FACTORIES: Final = {one.__name__: one for one in (bool, int, float, str, bytes, list, dict, set, tuple)}

#: every type with a tag
TAGS = (
    Tag("tuple", 1, tuple, list, tuple),
    Tag("set", 2, set, list, set),
    Tag("frozenset", 3, frozenset, list, frozenset),
    Tag("datetime", 4, dt.datetime, _write_moment, _read_datetime),
    Tag("date", 5, dt.date, dt.date.isoformat, dt.date.fromisoformat),
    Tag("time", 6, dt.time, _write_moment, _read_time),
    Tag("timedelta", 7, dt.timedelta, lambda v: [v.days, v.seconds, v.microseconds], _read_timedelta),
    Tag("uuid", 8, uuid.UUID, lambda v: v.hex, uuid.UUID),
    Tag("decimal", 9, decimal.Decimal, str, decimal.Decimal),
    Tag("complex", 10, complex, lambda v: [v.real, v.imag], _read_complex),
    # simple types with values that the format cannot write
    Tag("int", 11, int, _write_int, _read_int),
    Tag("text", 12, str, _write_text, _read_text),
    Tag("float", 13, float, repr, float),
    Tag("bytes", 14, bytes, _write_bytes, _read_bytes),
    # a mapping with keys that the format does not allow, as a list of pairs
    Tag("dict", 15, dict, _pairs, _read_dict),
    Tag("ordereddict", 16, collections.OrderedDict, _pairs, collections.OrderedDict),
    Tag("counter", 17, collections.Counter, _pairs, lambda pairs: collections.Counter(_read_dict(pairs))),
    Tag("defaultdict", 18, collections.defaultdict, _write_defaultdict, _read_defaultdict),
    Tag("deque", 19, collections.deque, lambda v: [list(v), v.maxlen], _read_deque),
    # a path of this machine's kind; where there is another kind, it is one of that kind
    Tag("path", 21, type(pathlib.Path()), str, pathlib.Path),
    Tag("posixpath", 22, pathlib.PurePosixPath, str, pathlib.PurePosixPath),
    Tag("windowspath", 23, pathlib.PureWindowsPath, str, pathlib.PureWindowsPath),
    Tag("foreign", 20, Written, lambda v: [v.name, v.data], read_foreign),
)
BY_NAME: Final = {tag.name: tag for tag in TAGS}
BY_CODE: Final = {tag.code: tag for tag in TAGS}
BY_TYPE: Final = {tag.type: tag for tag in TAGS}

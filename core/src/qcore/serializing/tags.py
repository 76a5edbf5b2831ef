"""Decides how types that a format lacks are written and read."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import uuid
import zoneinfo
from typing import TYPE_CHECKING, Any, Final

import attrs

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


#: every type with a tag; a subclass comes before its base
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
    Tag("dict", 15, dict, lambda v: [[key, item] for key, item in v.items()], _read_dict),
)
BY_NAME: Final = {tag.name: tag for tag in TAGS}
BY_CODE: Final = {tag.code: tag for tag in TAGS}
BY_TYPE: Final = {tag.type: tag for tag in TAGS}


def tag_of(kind: type) -> Tag | None:
    """Return the tag of a type or of the nearest of its bases, None if there is none."""
    for base in kind.__mro__:
        tag = BY_TYPE.get(base)
        if tag is not None:
            return tag
    return None

"""Decides how values are written as JSON, with tags where needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import DecodeError
from qcore_values.plain import Form, fits_plainly
from qcore_values.tagged import TaggedSerializer
from qcore_values.tags import BY_NAME

if TYPE_CHECKING:
    from qcore_values.tags import Tag

#: the first character of a tag's key; a user's mapping with such a key is written as a list of pairs
_TAG_PREFIX = "$"
_TAG_BYTES = b'"$'


class JsonSerializer(TaggedSerializer):
    """JSON with tags: a tuple is `{"$tuple": [...]}`; each type that `msgpack` supports here has a tag."""

    code = 2

    def __init__(self) -> None:
        form = Form(fits=_fits, fits_key=_fits_key, mark=_tagged)
        encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
        super().__init__("JSON", form, encode, decode, reserved=_TAG_BYTES)

    def read(self, data: bytes) -> Any:  # noqa: ANN401 - a user's value may be of any type
        """Return the value written in `data`; see `TaggedSerializer`."""
        value = self._decode(data)
        return _read(value) if _TAG_BYTES in data else value


def _tagged(tag: Tag, value: object) -> dict[str, Any]:
    return {_TAG_PREFIX + tag.name: value}


def _read(value: Any) -> Any:  # noqa: ANN401 - a user's value may be of any type
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key.startswith(_TAG_PREFIX):
            return _read_tagged(key, item)
    return {key: _read(item) for key, item in value.items()}


def _read_tagged(key: str, item: object) -> Any:  # noqa: ANN401 - a user's value may be of any type
    tag = BY_NAME.get(key.removeprefix(_TAG_PREFIX))
    if tag is None:
        raise DecodeError(f"unknown tag {key[:40]!a}")
    return tag.read(_read(item))


def _fits(value: object) -> bool:
    return fits_plainly(value) or (type(value) is float and math.isfinite(value))


def _fits_key(value: object) -> bool:
    return type(value) is str and not value.startswith(_TAG_PREFIX) and fits_plainly(value)

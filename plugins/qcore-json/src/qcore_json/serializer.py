"""Decides how values are written as JSON, with tags where needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer
from qcore_values.plain import Form, fits_plainly, is_builtin, plain
from qcore_values.tags import BY_NAME

if TYPE_CHECKING:
    from qcore_values.tags import Tag

#: the first character of a tag's key; a user's mapping with such a key is written as a list of pairs
_TAG_PREFIX = "$"
_TAG_BYTES = b'"$'


class JsonSerializer(Serializer):
    """JSON with tags: a tuple is `{"$tuple": [...]}`; each type that `msgpack` supports here has a tag."""

    code = 2

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        self._form = Form(fits=_fits, fits_key=_fits_key, mark=_tagged)

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - a user's value may be of any type
        """Return `value` as JSON.

        Raises:
            EncodeError: it contains an object of a type without a JSON form.
        """
        data = self._encode_plain(value)
        if data is not None:
            return data
        try:
            return self._encode(plain(value, self._form))
        except EncodeError:
            raise
        except Exception as exc:
            raise EncodeError(f"cannot write the value as JSON: {type(exc).__name__}: {exc}") from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - a user's value may be of any type
        """Return the value written in `data`.

        Raises:
            DecodeError: it is not JSON, or has an unknown tag.
        """
        try:
            value = self._decode(data)
            return _read(value) if _TAG_BYTES in data else value
        except Exception as exc:
            raise DecodeError(f"cannot read the value as JSON: {type(exc).__name__}: {exc}") from exc

    def _encode_plain(self, value: object) -> bytes | None:
        """Return the JSON of a value that needs no tags, else None; it must decode to an equal value."""
        try:
            data = self._encode(value)
            if _TAG_BYTES in data or not is_builtin(value):
                return None
            return data if self._decode(data) == value else None
        except Exception:  # noqa: BLE001 - the slower way with tags writes it, or raises the error
            return None


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

"""JSON: readable by anyone, marks where JSON has no form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer
from qcore.serializing.plain import Form, fits_plainly, plain
from qcore.serializing.tags import BY_NAME

if TYPE_CHECKING:
    from qcore.serializing.tags import Tag

#: how a mark begins; a mapping of a user's with such a key is written as pairs
_MARK = "$"
_MARK_BYTES = b'"$'


class JsonSerializer(Serializer):
    """JSON; a tuple is `{"$tuple": [...]}`, and so on for every type MessagePack knows here."""

    code = 2

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        self._form = Form(fits=_fits, fits_key=_fits_key, mark=_mark)

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - any value of a user's
        """Return the bytes of `value`."""
        data = self._if_plain(value)
        if data is not None:
            return data
        try:
            return self._encode(plain(value, self._form))
        except EncodeError:
            raise
        except Exception as exc:
            raise EncodeError(f"cannot write the value: {type(exc).__name__}: {exc}") from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - any value of a user's
        """Return the value of `data`."""
        try:
            value = self._decode(data)
            return _read(value) if _MARK_BYTES in data else value
        except Exception as exc:
            raise DecodeError(f"not JSON of qcore: {type(exc).__name__}: {exc}") from exc

    def _if_plain(self, value: object) -> bytes | None:
        """Return the bytes of a value that needs no marks: what reads back equal was written whole."""
        try:
            data = self._encode(value)
            return data if _MARK_BYTES not in data and self._decode(data) == value else None
        except Exception:  # noqa: BLE001 - the long way round writes it, or tells what is wrong
            return None


def _mark(tag: Tag, value: object) -> dict[str, Any]:
    return {_MARK + tag.name: value}


def _read(value: Any) -> Any:  # noqa: ANN401 - any value of a user's
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key.startswith(_MARK):
            return _read_tag(key, item)
    return {key: _read(item) for key, item in value.items()}


def _read_tag(key: str, item: object) -> Any:  # noqa: ANN401 - any value of a user's
    tag = BY_NAME.get(key.removeprefix(_MARK))
    if tag is None:
        raise DecodeError(f"unknown mark {key[:40]!a}")
    return tag.read(_read(item))


def _fits(value: object) -> bool:
    return fits_plainly(value) or (type(value) is float and math.isfinite(value))


def _fits_key(value: object) -> bool:
    return type(value) is str and not value.startswith(_MARK) and fits_plainly(value)

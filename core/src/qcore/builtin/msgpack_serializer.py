"""MessagePack: the default, exact for the types people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer
from qcore.serializing.plain import Form, fits_plainly, plain
from qcore.serializing.tags import BY_CODE

if TYPE_CHECKING:
    from qcore.serializing.tags import Tag


class MsgpackSerializer(Serializer):
    """MessagePack with extension types for tuple, set, datetime, UUID, Decimal and the like.

    Dataclasses, attrs classes, msgspec structs and enumerations are written as mappings and
    values; who reads them rebuilds them from the annotations of the task.
    """

    code = 1

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._read_tag).decode
        self._form = Form(fits=_fits, fits_key=_fits, mark=self._mark)

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
            return self._decode(data)
        except Exception as exc:
            raise DecodeError(f"not MessagePack of qcore: {type(exc).__name__}: {exc}") from exc

    def _if_plain(self, value: object) -> bytes | None:
        """Return the bytes of a value that needs no marks.

        msgspec writes a tuple as an array and a date as a text without asking. What reads back
        equal was written whole: encoding, decoding and comparing in C is as fast as a look at
        each type in Python, and cannot forget one.
        """
        try:
            data = self._encode(value)
            # MessagePack's own time stamps begin so; they read back equal, but in UTC
            stamped = b"\xd6\xff" in data or b"\xd7\xff" in data or b"\xc7\x0c\xff" in data
            return data if not stamped and self._decode(data) == value else None
        except Exception:  # noqa: BLE001 - the long way round writes it, or tells what is wrong
            return None

    def _mark(self, tag: Tag, value: object) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(tag.code, self._encode(value))

    def _read_tag(self, code: int, data: memoryview) -> Any:  # noqa: ANN401 - any value of a user's
        tag = BY_CODE.get(code)
        if tag is None:
            raise DecodeError(f"unknown extension type {code}")
        return tag.read(self._decode(data))


def _fits(value: object) -> bool:
    return fits_plainly(value) or type(value) in (float, bytes)

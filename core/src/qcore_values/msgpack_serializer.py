"""Decides how values are written as MessagePack, the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer
from qcore_values.plain import Form, fits_plainly, is_builtin, plain
from qcore_values.tags import BY_CODE

if TYPE_CHECKING:
    from qcore_values.tags import Tag


class MsgpackSerializer(Serializer):
    """MessagePack with extension types for tuple, set, datetime, UUID, Decimal and the like."""

    code = 1

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._read_tagged).decode
        self._form = Form(fits=_fits, fits_key=_fits, mark=self._tagged)

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - a user's value may be of any type
        """Return `value` as MessagePack.

        Raises:
            EncodeError: it contains an object of a type without a MessagePack form.
        """
        data = self._encode_plain(value)
        if data is not None:
            return data
        try:
            return self._encode(plain(value, self._form))
        except EncodeError:
            raise
        except Exception as exc:
            raise EncodeError(f"cannot write the value as MessagePack: {type(exc).__name__}: {exc}") from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - a user's value may be of any type
        """Return the value written in `data`.

        Raises:
            DecodeError: it is not MessagePack, or has an unknown extension type.
        """
        try:
            return self._decode(data)
        except Exception as exc:
            raise DecodeError(f"cannot read the value as MessagePack: {type(exc).__name__}: {exc}") from exc

    def _encode_plain(self, value: object) -> bytes | None:
        """Return the MessagePack of a value that needs no tags, else None.

        msgspec silently writes a tuple as an array and a date as a text, so the bytes are decoded and
        compared with the value. In C this is as fast as checking each type in Python, and no type
        can be forgotten. `is_builtin` finds types that compare equal to others.
        """
        try:
            data = self._encode(value)
            return data if is_builtin(value) and self._decode(data) == value else None
        except Exception:  # noqa: BLE001 - the slower way with tags writes it, or raises the error
            return None

    def _tagged(self, tag: Tag, value: object) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(tag.code, self._encode(value))

    def _read_tagged(self, code: int, data: memoryview) -> Any:  # noqa: ANN401 - a user's value may be of any type
        tag = BY_CODE.get(code)
        if tag is None:
            raise DecodeError(f"unknown extension type {code}")
        return tag.read(self._decode(data))


def _fits(value: object) -> bool:
    return fits_plainly(value) or type(value) in (float, bytes)

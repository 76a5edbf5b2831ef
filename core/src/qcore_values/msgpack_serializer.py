"""Decides how values are written as MessagePack, the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import DecodeError
from qcore_values.foreign import Unresolved
from qcore_values.plain import Form, fits_plainly
from qcore_values.tagged import TaggedSerializer
from qcore_values.tags import BY_CODE

if TYPE_CHECKING:
    from qcore_values.tags import Tag


#: What is read as it was written: neither one of these nor a list of them is read to compare it.
_SCALARS: Final = frozenset((str, int, float, bool, bytes, type(None)))


class MsgpackSerializer(TaggedSerializer):
    """MessagePack with extension types for tuple, set, datetime, UUID, Decimal and the like."""

    code = 1

    def __init__(self) -> None:
        form = Form(fits=_fits, fits_key=_fits, mark=self._tagged)
        decode = msgspec.msgpack.Decoder(ext_hook=self._read_tagged).decode
        super().__init__("MessagePack", form, msgspec.msgpack.Encoder().encode, decode)

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - as below
        """Return `value` as bytes; most arguments and results are a few scalars, and may be long ones."""
        kind = type(value)
        if kind in _SCALARS or (kind is list and _SCALARS.issuperset(map(type, value))):
            try:
                return self._encode(value)
            except Exception:  # noqa: BLE001 - it is written again for the error, or with tags
                return super().dumps(value)
        return super().dumps(value)

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - as below
        """Return the value written in `data`; in one call, because every task's arguments are read."""
        try:
            return self._decode(data)
        except Unresolved:
            raise
        except Exception:  # noqa: BLE001 - it is read again for the error
            return super().loads(data)

    def read(self, data: bytes) -> Any:  # noqa: ANN401 - a user's value may be of any type
        """Return the value written in `data`; see `TaggedSerializer`."""
        return self._decode(data)

    def _tagged(self, tag: Tag, value: object) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(tag.code, self._encode(value))

    def _read_tagged(self, code: int, data: memoryview) -> Any:  # noqa: ANN401 - as above
        tag = BY_CODE.get(code)
        if tag is None:
            raise DecodeError(f"unknown extension type {code}")
        return tag.read(self._decode(data))


def _fits(value: object) -> bool:
    return fits_plainly(value) or type(value) in (float, bytes)

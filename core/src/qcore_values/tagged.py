"""Decides when a format needs no tags, for serializers by msgspec."""

from __future__ import annotations

from abc import abstractmethod
from marshal import dumps as marshalled
from typing import TYPE_CHECKING, Any

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer
from qcore_values.foreign import Unresolved
from qcore_values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_values.plain import Form


class TaggedSerializer(Serializer):
    """Writes what a format has directly, and everything else with tags.

    msgspec silently writes a tuple as an array and a date as a text, so what it wrote is decoded and
    compared with the value. In C this is as fast as checking each type in Python, and no type can be
    forgotten. `marshal` finds types that compare equal to others.
    """

    def __init__(
        self,
        name: str,
        form: Form,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes | memoryview], Any],
        *,
        reserved: bytes | None = None,
    ) -> None:
        """Write a format.

        Args:
            name: of the format, for messages.
            form: which values it can write.
            encode: writes a value that the format has.
            decode: reads it; without tags that suffices.
            reserved: bytes that only tags may have: a value in which they are is written with tags.

        """
        self._name = name
        self._form = form
        self._encode = encode
        self._decode = decode
        self._reserved = reserved

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - a user's value may be of any type
        """Return `value` as bytes.

        Raises:
            EncodeError: it contains an object of a type without a form in this format.
        """
        try:
            data = self._encode(value)
            # In C, and it refuses any type but builtin ones: enumerations and subclasses would pass for
            # their value. A tuple, a set and a buffer are not refused.
            marshalled(value, 2)
            if (self._reserved is None or self._reserved not in data) and self._decode(data) == value:
                return data
        except Exception:  # noqa: BLE001 - the slower way writes it, or raises the error
            return self._with_tags(value)
        return self._with_tags(value)

    def _with_tags(self, value: Any) -> bytes:  # noqa: ANN401 - as above
        try:
            return self._encode(plain(value, self._form))
        except EncodeError:
            raise
        except Exception as exc:
            why = f"{type(exc).__name__}: {exc}"
            raise EncodeError(f"cannot write the value as {self._name}: {why}") from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - as above
        """Return the value written in `data`.

        Raises:
            DecodeError: it is not of this format, or has an unknown tag.
            Unresolved: it has a value of another package's type that cannot be made.
        """
        try:
            return self.read(data)
        except Unresolved:
            raise
        except Exception as exc:
            why = f"{type(exc).__name__}: {exc}"
            raise DecodeError(f"cannot read the value as {self._name}: {why}") from exc

    @abstractmethod
    def read(self, data: bytes) -> Any:  # noqa: ANN401 - as above
        """Return the value written in `data`; any exception means that the bytes are not valid."""

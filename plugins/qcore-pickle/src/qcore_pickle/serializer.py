"""Pickle: any Python object, for those who trust every producer."""

from __future__ import annotations

import pickle
from typing import Any

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer


class PickleSerializer(Serializer):
    """Pickle, protocol 5.

    Whoever can write a valid message can run any code in the process that reads it. Messages
    are signed, so that is whoever has the secret key; a worker reads pickle only if its own
    configuration accepts it by name.
    """

    code = 3
    unsafe = True

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - any value of a user's
        """Return the bytes of `value`."""
        try:
            return pickle.dumps(value, protocol=5)
        except Exception as exc:
            path, culprit = _culprit(value)
            text = f"cannot write an object of type {type(culprit).__name__}"
            raise EncodeError(f"{path}: {text}" if path else text) from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - any value of a user's
        """Return the value of `data`."""
        try:
            return pickle.loads(data)  # noqa: S301 - that is what it is for; see the class
        except Exception as exc:
            raise DecodeError(f"not a pickle this process can read: {type(exc).__name__}: {exc}") from exc


def _culprit(value: object) -> tuple[str, object]:
    """Follow the first item that cannot be pickled down to the last container."""
    path = ""
    # bounded, for a list may contain itself
    for _ in range(100):
        step = next(((name, item) for name, item in _parts(value) if not _can(item)), None)
        if step is None:
            break
        path += step[0]
        value = step[1]
    return path, value


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        names = [f".{key}" if str(key).isidentifier() else f"[{type(key).__name__}]" for key in value]
        return list(zip(names, value.values(), strict=True))
    if isinstance(value, (list, tuple)):
        return [(f"[{number}]", item) for number, item in enumerate(value)]
    return []


def _can(value: object) -> bool:
    try:
        pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001 - whatever it raises, it cannot
        return False
    return True

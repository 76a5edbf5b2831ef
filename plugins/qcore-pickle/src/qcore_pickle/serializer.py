"""Decides how Python objects are written and read as pickle."""

from __future__ import annotations

import pickle
from typing import Any

from qcore.errors import DecodeError, EncodeError
from qcore.interfaces import Serializer


class PickleSerializer(Serializer):
    """Pickle, protocol 5.

    Reading a pickle can run any code, so everyone who can write a valid message can run code in the
    process that reads it. Messages are signed, so this means everyone who has the secret key. A worker
    reads pickle only if its own configuration names it in `accept_serializers`.
    """

    code = 3
    unsafe = True

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - a user's value may be of any type
        """Return `value` as a pickle.

        Raises:
            EncodeError: it contains an object that cannot be pickled; the message names where.
        """
        try:
            return pickle.dumps(value, protocol=5)
        except Exception as exc:
            path, culprit = _culprit(value)
            text = f"cannot write an object of type {type(culprit).__name__}"
            raise EncodeError(f"{path}: {text}" if path else text) from exc

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - a user's value may be of any type
        """Return the value written in `data`.

        Raises:
            DecodeError: it is not a pickle, or needs a class that this process cannot import.
        """
        try:
            return pickle.loads(data)  # noqa: S301 - reading pickles is the purpose of this class; see its docstring
        except Exception as exc:
            raise DecodeError(f"cannot read the pickle: {type(exc).__name__}: {exc}") from exc


def _culprit(value: object) -> tuple[str, object]:
    """Return the innermost item that cannot be pickled, and the path to it."""
    path = ""
    # bounded, because a list may contain itself
    for _ in range(100):
        step = next(((name, item) for name, item in _parts(value) if not _is_picklable(item)), None)
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


def _is_picklable(value: object) -> bool:
    try:
        pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001 - any error means that it cannot be pickled
        return False
    return True

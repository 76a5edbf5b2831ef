"""Reads what Django-Q has pickled."""

from __future__ import annotations

import base64
import io
import pickle  # Django-Q wrote it
from typing import Any

from django.core import signing


class UnreadableError(Exception):
    """Something of Django-Q's cannot be read; the text says what and why."""


class _Wrapped:
    """Stands for the wrapper that the package `picklefield` puts around objects of models."""

    _obj: Any = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - of any version
        for one in state if isinstance(state, tuple) else (state,):
            for name, value in (one or {}).items():
                setattr(self, name, value)


class _Reader(pickle.Unpickler):
    """Reads pickles also where that package is not installed."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever was pickled
        if (module, name) == ("picklefield.fields", "_ObjectWrapper"):
            return _Wrapped
        return super().find_class(module, name)


class Pickled:
    """The serializer of signed messages."""

    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - whatever was pickled
        """Return the object."""
        return _Reader(io.BytesIO(data)).load()


def column(text: str | None) -> Any:  # noqa: ANN401 - whatever was pickled
    """Return the value of a column of the table of tasks.

    Raises:
        UnreadableError: a class is not there any more, or it is not a pickle.

    """
    if text is None:
        return None
    try:
        found = Pickled().loads(base64.b64decode(text))
    except Exception as exc:
        raise UnreadableError(f"it cannot be unpickled: {type(exc).__name__}: {exc}") from exc
    return found._obj if isinstance(found, _Wrapped) else found  # noqa: SLF001 - the name that was pickled


def message(payload: str, name: str, keys: list[str | bytes]) -> dict[str, Any]:
    """Return a message; nothing of one whose signature is wrong is unpickled.

    Args:
        payload: as the queue has it.
        name: that `Q_CLUSTER` had when it was enqueued.
        keys: one of them signed it.

    Raises:
        UnreadableError: no key fits, a class is not there any more, or it is not a message.

    """
    try:
        found = signing.loads(payload, keys[0], salt=name, serializer=Pickled, fallback_keys=keys[1:])
    except signing.BadSignature as exc:
        raise UnreadableError(
            f"no key of this site signed it for the name {name!r}: put the old SECRET_KEY into"
            " SECRET_KEY_FALLBACKS, or give the name that Q_CLUSTER had as --name"
        ) from exc
    except Exception as exc:
        raise UnreadableError(f"it cannot be unpickled: {type(exc).__name__}: {exc}") from exc
    if not isinstance(found, dict) or not {"id", "func", "args", "kwargs"} <= found.keys():
        raise UnreadableError("it is not a task of Django-Q")
    return found

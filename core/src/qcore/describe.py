"""An exception as text that is safe to keep."""

from __future__ import annotations

import traceback
from typing import Final

#: Most of an exception's own text that is kept, characters.
MAX_ERROR: Final = 4096
#: Most of a traceback that is kept, from its end, characters.
MAX_TRACEBACK: Final = 16384


def describe(exc: BaseException) -> str:
    """Return `Type: text` of an exception whose own methods are not to be trusted."""
    try:
        text = str(exc)
    except BaseException:  # noqa: BLE001 - a __str__ that raises, SystemExit too, is the user's; the type still tells
        text = "(its text cannot be shown)"
    name = type(exc).__qualname__
    text = f"{name}: {text}" if text else name
    return text[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()


def trace(exc: BaseException) -> str:
    """Return the traceback of a task, from its own first frame, at most `MAX_TRACEBACK` characters."""
    try:
        # The first frame is ours.
        inner = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
        text = "".join(traceback.format_exception(type(exc), exc, inner or exc.__traceback__))
    except BaseException as broken:  # noqa: BLE001 - formatting runs the user's code
        text = f"(the traceback cannot be shown: {type(broken).__name__})"
    return text[-MAX_TRACEBACK:].encode("utf-8", "backslashreplace").decode()

"""Decides how exceptions become text that is safe to store."""

from __future__ import annotations

import itertools
import traceback
from pathlib import Path
from typing import Final

#: Most characters of an exception's text.
MAX_ERROR: Final = 4096
#: Most characters of a traceback, from its end.
MAX_TRACEBACK: Final = 16384
#: The files of the frames that call a task, and of the alarm that ends it.
_OURS: Final = tuple(
    str(Path(__file__).parents[1] / name)
    for name in ("qcore/tasks/execute.py", "qcore_at_once", "qcore_loop")
)
_LOOP: Final = str(Path(traceback.__file__).parent / "asyncio")


def format_error(exc: BaseException) -> str:
    """Return `Type: text` of an exception whose own methods may raise."""
    kind = type(exc)
    try:
        # str.__str__, because a text of a user's class has the user's methods
        text = str.__str__(str(exc))
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything; the type is shown
        text = "(its text cannot be shown)"
    name = type.__getattribute__(kind, "__qualname__")
    return _writable(f"{name}: {text}"[:MAX_ERROR] if text else name)


def format_traceback(exc: BaseException) -> str:
    """Return the traceback of a task without qcore's frames, at most `MAX_TRACEBACK` characters."""
    try:
        formatted = traceback.TracebackException(type(exc), exc, exc.__traceback__)
        frames = itertools.filterfalse(lambda frame: frame.filename.startswith(_OURS), list(formatted.stack))
        # The frames above the task's first one belong to the event loop.
        formatted.stack[:] = itertools.dropwhile(lambda frame: frame.filename.startswith(_LOOP), frames)
        text = "".join(formatted.format())
    except BaseException as broken:  # noqa: BLE001 - formatting runs the user's code
        text = f"(the traceback cannot be shown: {type(broken).__name__})"
    return _writable(text[-MAX_TRACEBACK:])


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

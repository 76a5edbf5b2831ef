"""An exception as text that is safe to keep."""

from __future__ import annotations

import itertools
import traceback
from pathlib import Path
from typing import Final

#: Most of an exception's own text that is kept, characters.
MAX_ERROR: Final = 4096
#: Most of a traceback that is kept, from its end, characters.
MAX_TRACEBACK: Final = 16384
#: Where the frames lie that lead to a task, and that of the alarm which ends it.
_OURS: Final = tuple(str(Path(__file__).with_name(name)) for name in ("execute.py", "describe.py"))
_LOOP: Final = str(Path(traceback.__file__).parent / "asyncio")


def describe(exc: BaseException) -> str:
    """Return `Type: text` of an exception whose own methods are not to be trusted."""
    kind = type(exc)
    try:
        # str(): a text of a class of the user's has methods of the user's
        text = str.__str__(str(exc))
    except BaseException:  # noqa: BLE001 - a __str__ that raises is the user's; the type still tells
        text = "(its text cannot be shown)"
    name = type.__getattribute__(kind, "__qualname__")
    return _writable(f"{name}: {text}"[:MAX_ERROR] if text else name)


def trace(exc: BaseException) -> str:
    """Return the traceback of a task without our frames, at most `MAX_TRACEBACK` characters."""
    try:
        told = traceback.TracebackException(type(exc), exc, exc.__traceback__)
        frames = itertools.filterfalse(lambda frame: frame.filename.startswith(_OURS), list(told.stack))
        # What stands above the task's first frame is the event loop's.
        told.stack[:] = itertools.dropwhile(lambda frame: frame.filename.startswith(_LOOP), frames)
        text = "".join(told.format())
    except BaseException as broken:  # noqa: BLE001 - formatting runs the user's code
        text = f"(the traceback cannot be shown: {type(broken).__name__})"
    return _writable(text[-MAX_TRACEBACK:])


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

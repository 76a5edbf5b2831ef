"""Where a process is killed: behind each step that leaves it."""

from __future__ import annotations

import os
import signal
import sys
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

#: C functions with an effect outside of the process, by the module of what they belong to
EFFECTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "socket": frozenset({"send", "sendall", "sendmsg", "sendto"}),
        "_ssl": frozenset({"write"}),
        "_io": frozenset({"write", "writelines", "truncate", "flush", "close", "__exit__"}),
        "sqlite3": frozenset({"execute", "executemany", "executescript", "commit", "__exit__"}),
        "posix": frozenset(
            {"write", "writev", "pwrite", "rename", "replace", "link", "symlink", "unlink", "remove"}
            | {"truncate", "ftruncate", "mkdir", "rmdir", "open", "fsync", "fdatasync", "sendfile"}
        ),
    }
)


def has_effect(function: object) -> bool:
    """Return whether a C function that was called is one of those."""
    owner = getattr(function, "__self__", None)
    # a function of a module, or a method of an object
    module = owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__
    if module == "_io" and type(owner).__name__ in {"BytesIO", "StringIO"}:
        return False
    return getattr(function, "__name__", "") in EFFECTS.get(module, ())


def kill_behind(step: int) -> None:
    """Kill this process as soon as one more than `step` calls with an effect have returned.

    It sees what is called from Python in this thread, whatever the library.
    """
    left = step

    def profile(frame: FrameType, event: str, function: object) -> None:
        nonlocal left
        del frame
        if event == "c_return" and has_effect(function):
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.setprofile(profile)


def no_kill() -> None:
    """Leave this process alive from here on."""
    sys.setprofile(None)

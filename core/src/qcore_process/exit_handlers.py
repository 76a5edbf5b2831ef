"""Which exit handlers of `atexit` belong to a forked process."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import Final

#: how many functions `atexit` has where only `logging` has one
ONLY_LOGGING: Final = 1


def forget_exit_handlers() -> None:
    """Forget what the program that forked this process registered: it runs that itself."""
    atexit._clear()  # noqa: SLF001 - there is no public way
    forget_finalizers()
    # So that a later one registers them again, where Python's own code does it that way.
    if hasattr(weakref.finalize, "_registered_with_atexit"):
        weakref.finalize._registered_with_atexit = False  # noqa: SLF001 - see above
    # Importing it had registered this, and it is the same for every process.
    atexit.register(logging.shutdown)


def forget_finalizers() -> None:
    """Leave what objects of the parent clean up at its exit to the parent, such as temporary folders."""
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False

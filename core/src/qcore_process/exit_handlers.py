"""Which exit handlers of `atexit` belong to a forked process."""

from __future__ import annotations

import atexit
import logging
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: how many functions `atexit` has where only `logging` has one
ONLY_LOGGING: Final = 1
#: how many more were registered by what is not the program, before this process was forked
_OTHERS: Final[list[int]] = []


def program_has_some() -> bool:
    """Whether `atexit` has functions that the program, or a library of its, has registered."""
    return atexit._ncallbacks() != ONLY_LOGGING + sum(_OTHERS)  # noqa: SLF001 - there is no public way


@contextmanager
def not_of_the_program() -> Iterator[None]:
    """Count what is registered meanwhile as nothing that a worker has to call at its end."""
    before = atexit._ncallbacks()  # noqa: SLF001 - as above
    yield
    _OTHERS.append(atexit._ncallbacks() - before)  # noqa: SLF001 - as above


def forget_exit_handlers() -> None:
    """Forget what the program that forked this process registered: it runs that itself."""
    _OTHERS.clear()
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

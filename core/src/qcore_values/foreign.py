"""Types that other packages add, and how they travel."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.frozen
class Foreign:
    """A type of another package, with its subclasses, that is written as a simpler value."""

    #: what is written with the value, such as `django.model`; it never changes
    name: str
    type: type
    #: value -> simpler value; EncodeError says why a value is refused
    write: Callable[[Any], Any]
    #: simpler value -> value, where a task is about to run; it may ask a database, and whatever it raises
    #: is a failure of that task. None = the simpler value arrives, and `name` is not written
    read: Callable[[Any], Any] | None = None


@attrs.frozen
class Written:
    """A value as it was written, in a process that has no use for the value itself."""

    name: str
    data: Any


class Unresolved(DecodeError):
    """A value of another package's type could not be made; the cause says why."""


_BY_TYPE: Final[dict[type, Foreign]] = {}
_BY_NAME: Final[dict[str, Foreign]] = {}
_AS_WRITTEN: Final[ContextVar[bool]] = ContextVar("as_written", default=False)


def register(foreign: Foreign) -> None:
    """Have values of a type travel; workers and producers must both register it, when they are imported."""
    _BY_TYPE[foreign.type] = foreign
    _BY_NAME[foreign.name] = foreign


def foreign_of(kind: type) -> Foreign | None:
    """Return how values of a type travel, as the nearest registered base says; None if none is."""
    return next((_BY_TYPE[base] for base in kind.__mro__ if base in _BY_TYPE), None)


@contextmanager
def as_written() -> Iterator[None]:
    """Read values of such types as `Written` here: to pass them on, or to show them."""
    before = _AS_WRITTEN.set(True)
    try:
        yield
    finally:
        _AS_WRITTEN.reset(before)


def read_foreign(pair: list[Any]) -> object:
    """Return the value that was written as a name and a simpler value.

    Raises:
        Unresolved: it cannot be made.

    """
    name, data = pair
    if _AS_WRITTEN.get():
        return Written(name, data)
    found = _BY_NAME.get(name)
    if found is None or found.read is None:
        msg = f"a value of the type {str(name)[:80]!r}, which no imported package has registered"
        raise Unresolved(msg)
    try:
        return found.read(data)
    except Exception as exc:
        msg = f"{type(exc).__name__}: {exc}"
        raise Unresolved(msg) from exc

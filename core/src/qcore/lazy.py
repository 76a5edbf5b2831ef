"""Imports names and computes attributes when they are first used."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class cached(Generic[_T]):  # noqa: N801 - used as a decorator
    """An attribute that is computed once; two threads may compute it twice, and the first one stays.

    `functools.cached_property` of Python 3.11 holds a lock meanwhile. A process that is forked while
    another thread computes would wait for that lock for ever.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | _T:
        """Return the value; the next look-up finds it without this function."""
        if instance is None:
            return self
        value: _T = vars(instance).setdefault(self._name, self._compute(instance))
        return value


def on_demand(package: str, **where: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose names are slow to import.

    Every process that uses qcore imports the packages of its plugins, so they should not import
    the client libraries of services at once.

    Args:
        package: its `__name__`.
        where: name -> the module that defines it; one that begins with a dot is in the package.

    """

    def find(name: str) -> object:
        """Import the name, see https://peps.python.org/pep-0562/."""
        if name not in where:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        found = getattr(import_module(where[name], package), name)
        # The next use finds it without this function.
        setattr(sys.modules[package], name, found)
        return found

    return find

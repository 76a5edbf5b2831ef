"""Imports names of a package when they are first used."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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

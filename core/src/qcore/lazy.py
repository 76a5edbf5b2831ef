"""Names of a package that are imported when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def on_demand(package: str, **where: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose names cost something to import.

    The package of a plugin is imported wherever qcore runs, with the module its entry point
    names; what it needs to speak to a service should not be.

    Args:
        package: its `__name__`.
        where: the module within it of each name.

    """

    def find(name: str) -> object:
        """Import what is asked for, see https://peps.python.org/pep-0562/."""
        if name not in where:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(import_module(f"{package}.{where[name]}"), name)

    return find

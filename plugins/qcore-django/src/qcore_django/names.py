"""Functions whose names are a prefix and another name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self


class Prefix(ABC):
    """A callable for each dotted name, which is an attribute of it.

    So a message names what it is for, and a worker finds it without anything else.
    """

    def __init__(self, module: str, title: str, name: str = "") -> None:
        #: the other name
        self._name = name
        self._title = title
        self.__module__ = module
        self.__qualname__ = f"{title}.{name}" if name else title

    def __getattr__(self, part: str) -> Self:
        if part.startswith("__"):
            msg = f"{self.__qualname__} has no attribute {part!r}"
            raise AttributeError(msg)
        return type(self)(self.__module__, self._title, f"{self._name}.{part}" if self._name else part)

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the other returns
        """Call the other function."""

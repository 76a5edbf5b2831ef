"""Callbacks that are given what Django-Q gave them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from qcore.tasks.call import hook_name
from qcore_django.results import TaskResult
from qcore_django.shared import app
from qcore_names.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import Result


class Called:
    """The callback of a dotted name, which is `qcore_django.hooks.called` and its own.

    So a message names the callback that it is for, and a worker finds it without anything else.
    """

    def __init__(self, name: str) -> None:
        self.__name = name
        self.__module__ = __name__
        self.__qualname__ = f"called.{name}" if name else "called"

    def __getattr__(self, part: str) -> Called:
        if part.startswith("__"):
            msg = f"{self.__qualname__} has no attribute {part!r}"
            raise AttributeError(msg)
        return Called(f"{self.__name}.{part}" if self.__name else part)

    def __call__(self, result: Result) -> object:
        """Call it with the result of a task."""
        function = resolve(self.__name, app.config.tasks_allowed)
        value = function(TaskResult(result))
        return asyncio.run(value) if inspect.iscoroutine(value) else None


#: every callback is an attribute of it
called = Called("")


def hook_for(hook: Callable[..., Any] | str) -> str:
    """Return the name of a callback that is given what Django-Q gave it.

    Raises:
        TaskNameError: a worker cannot import it.

    """
    return f"{__name__}.called.{hook_name(hook)}"

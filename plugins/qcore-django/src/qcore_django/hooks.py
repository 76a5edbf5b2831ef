"""Callbacks that are given what Django-Q gave them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from qcore.tasks.call import hook_name
from qcore_django.names import Prefix
from qcore_django.results import TaskResult
from qcore_django.shared import app
from qcore_names.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Callable


class Called(Prefix):
    """The callback of a dotted name, which is `qcore_django.hooks.called` and its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - nobody reads what a callback returns
        """Call it with the result of a task."""
        (result,) = args
        value = resolve(self._name, app.config.tasks_allowed)(TaskResult(result), **kwargs)
        return asyncio.run(value) if inspect.iscoroutine(value) else None


#: every callback is an attribute of it
called = Called(__name__, "called")


def hook_for(hook: Callable[..., Any] | str) -> str:
    """Return the name of a callback that is given what Django-Q gave it.

    Raises:
        TaskNameError: a worker cannot import it.

    """
    return f"{__name__}.called.{hook_name(hook)}"

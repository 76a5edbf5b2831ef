"""What programs have called when a worker starts and stops."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_R = TypeVar("_R")

_log = logging.getLogger("qcore.worker")


class WorkerHooks:
    """The functions that the imported modules have declared, in their order."""

    def __init__(self) -> None:
        self.on_start: list[Callable[[], object]] = []
        self.on_stop: list[Callable[[], object]] = []
        #: how many of `on_start` this process has called
        self._started = 0
        #: the name of the function that is being called
        self.running = ""

    def start(self) -> None:
        """Call what was declared and not called yet: a module may be imported by a later task."""
        new = self.on_start[self._started :]
        self._started += len(new)
        self._call("on_worker_start", new)

    def stop(self) -> None:
        """Call what is to be called before a worker ends, the last declared first."""
        self._call("on_worker_stop", self.on_stop[::-1])

    def _call(self, what: str, functions: Iterable[Callable[[], object]]) -> None:
        for function in functions:
            self.running = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
            try:
                function()
            except BaseException:  # noqa: BLE001 - a program's function may raise anything, and hurts no task
                _log.exception("%s: %s failed; the worker goes on", what, self.running)
        self.running = ""


#: those of this process
HOOKS: Final = WorkerHooks()


class DeclaresWorkerHooks:
    """What an `App` has to declare them."""

    def on_worker_start(self, function: Callable[[], _R], /) -> Callable[[], _R]:
        """Have a function called in each worker that imports its module, before its tasks run.

        An error of it is logged, and the worker goes on.
        """
        HOOKS.on_start.append(function)
        return function

    def on_worker_stop(self, function: Callable[[], _R], /) -> Callable[[], _R]:
        """Have a function called in each worker before it ends, when it is stopped or replaced.

        What is declared last is called first. All of them have two seconds. A worker that is killed
        or crashes calls none. An error is logged.
        """
        HOOKS.on_stop.append(function)
        return function

"""Adapts reporters that were written for Django-Q."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import PluginError
from qcore.interfaces import ErrorReporter
from qcore_names.entry_points import entry_points
from qcore_text.wording import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qcore.interfaces import ErrorReport
    from qcore_names.entry_points import EntryPoint

#: the group of entry points in which Django-Q looks for classes with a method `report()`
GROUP: Final = "djangoq.errorreporters"


class RunFailed(Exception):
    """Stands for a failure that left no exception, such as the death of a worker."""


class DjangoQReporter(ErrorReporter):
    """Calls `report()` of each class as Django-Q does: while the exception is handled."""

    def __init__(self, classes: Iterable[Callable[..., Any]], settings: dict[str, Any]) -> None:
        self._classes, self._settings = classes, settings
        self._made = self._make()
        self._maker = os.getpid()

    def start(self) -> None:
        """Make them anew in a worker: each may begin a thread when it is made, as Django-Q has it."""
        if self._maker != os.getpid():
            self._made = self._make()

    def _make(self) -> list[Any]:
        return [one(**self._settings) for one in self._classes]

    def report(self, report: ErrorReport) -> None:
        """Have each report the exception, which it finds in `sys.exc_info()`."""
        error = report.error or RunFailed(f"{report.task.name}: {report.summary}")
        trace = error.__traceback__
        try:
            raise error  # noqa: TRY301 - so that it is the one being handled
        except BaseException as exc:  # noqa: BLE001 - it is the exception of the task
            for one in self._made:
                one.report()
            # without the frame that raised it again
            exc.__traceback__ = trace

    def flush(self, seconds: float) -> None:
        """Do nothing: Django-Q has nothing of the kind."""


def find(name: str, points: Iterable[EntryPoint] | None = None) -> Callable[..., ErrorReporter] | None:
    """Return the factory of a reporter for Django-Q, None if there is none of that name.

    Django-Q names some that it does not bring, so one that is not there is none.

    Raises:
        PluginError: it cannot be imported for another reason.

    """
    classes = []
    for point in entry_points(GROUP) if points is None else points:
        if point.name != name:
            continue
        try:
            classes.append(point.load())
        except ModuleNotFoundError as exc:
            if not point.module.startswith(str(exc.name)):
                raise PluginError(f"the error reporter {name!r} of {point.value}: {reason(exc)}") from exc
        except Exception as exc:
            raise PluginError(f"the error reporter {name!r} of {point.value}: {reason(exc)}") from exc
    return (lambda **settings: DjangoQReporter(classes, settings)) if classes else None

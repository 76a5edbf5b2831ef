"""Gives a run scopes of its own once it uses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sentry_sdk.scope import Scope

from qcore.tasks.current import current

if TYPE_CHECKING:
    from collections.abc import Callable

#: Runs whose scopes are kept. Coroutines and threads that a task starts find its scope here.
_RUNS: Final = 64


class _OfRuns:
    """The scopes of runs, of one kind."""

    def __init__(self, base: Scope, get: Callable[[], Scope], put: Callable[[Scope], None]) -> None:
        #: that of the worker, outside of runs
        self.base = base
        self._get = get
        self.put = put
        self._scopes: dict[tuple[str, int], Scope] = {}

    def of(self, task_id: str, attempt: int) -> Scope:
        """Return that of a run."""
        key = (task_id, attempt)
        if (found := self._scopes.get(key)) is not None:
            return found
        made = self.base.fork()
        made.clear_breadcrumbs()
        for old in list(self._scopes)[: max(0, len(self._scopes) - _RUNS + 1)]:
            self._scopes.pop(old, None)
        return self._scopes.setdefault(key, made)

    def here(self, lazy: Scope) -> Scope:
        """Return that of the run whose code asks, and have it found directly the next time."""
        task = current()
        if task is None:
            return self.base
        found = self.of(task.id, task.attempt)
        if self._get() is lazy:
            self.put(found)
        return found


class LazyScope(Scope):
    """Stands for the scope of whatever run uses it: one for each run costs more than a short task."""

    __slots__ = ("_of_runs",)

    def __init__(self, of_runs: _OfRuns) -> None:
        object.__setattr__(self, "_of_runs", of_runs)

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - as the scope has it
        """Read it of the scope of the run."""
        return getattr(object.__getattribute__(self, "_of_runs").here(self), name)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as the scope has it
        """Set it in the scope of the run."""
        setattr(object.__getattribute__(self, "_of_runs").here(self), name, value)


def share() -> None:
    """Have all runs begin with the same two scopes: called once in a worker, where no task runs."""
    for get, put in (
        (Scope.get_isolation_scope, Scope.set_isolation_scope),
        (Scope.get_current_scope, Scope.set_current_scope),
    ):
        if type(get()) is not LazyScope:
            put(LazyScope(_OfRuns(get(), get, put)))


def settle(task_id: str, attempt: int) -> None:
    """Give this context the scopes of a run that has ended: another one may run by now."""
    for scope in (Scope.get_isolation_scope(), Scope.get_current_scope()):
        if type(scope) is LazyScope:
            of_runs: _OfRuns = object.__getattribute__(scope, "_of_runs")
            of_runs.put(of_runs.of(task_id, attempt))

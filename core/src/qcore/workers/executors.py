"""How what runs tasks is made in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qcore.tasks.execute import Executor
from qcore.tasks.run_hooks import RunHooks

if TYPE_CHECKING:
    from qcore.runtime import Runtime
    from qcore_process.surroundings import Surroundings

_E = TypeVar("_E", bound=Executor)


def make_executor(kind: type[_E], runtime: Runtime, surroundings: Surroundings, **options: Any) -> _E:
    """Return an executor with the hooks and serializers of a runtime."""
    return kind(
        runtime.serializers,
        RunHooks.of(runtime),
        keep_raised=bool(runtime.reporters),
        restore=surroundings.restore_streams,
        **options,
    )

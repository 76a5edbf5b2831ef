"""Apps under test: tasks run at once, or kept and not run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from qcore.inline import run_inline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qcore.app import App
    from qcore.tasks.call import Options, Sealed


@attrs.frozen(kw_only=True)
class Enqueued:
    """One task that was enqueued."""

    #: 32 hexadecimal digits
    id: str
    #: dotted name of the function
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options


class Captured:
    """What was enqueued, in order, and not sent."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._sealed: list[Sealed] = []

    @property
    def tasks(self) -> list[Enqueued]:
        """Return what was enqueued."""
        return [_enqueued(one) for one in self._sealed]

    @property
    def names(self) -> list[str]:
        """Return the names of what was enqueued."""
        return [one.call.name for one in self._sealed]

    def of(self, name: str) -> list[Enqueued]:
        """Return what was enqueued under a name."""
        return [task for task in self.tasks if task.name == name]

    def one(self, name: str) -> Enqueued:
        """Return the only task of that name.

        Raises:
            AssertionError: there is none, or there are several.

        """
        found = self.of(name)
        if len(found) != 1:
            raise AssertionError(
                f"{name} was enqueued {len(found)} times, not once; enqueued: {self._told()}"
            )
        return found[0]

    def assert_enqueued(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Raise AssertionError unless a task was enqueued with exactly these arguments."""
        if not any(task.args == args and task.kwargs == kwargs for task in self.of(name)):
            wanted = _shown(name, args, kwargs)
            raise AssertionError(f"{wanted} was not enqueued; enqueued: {self._told()}")

    def assert_nothing_enqueued(self) -> None:
        """Raise AssertionError if anything was enqueued."""
        if self._sealed:
            raise AssertionError(f"nothing should have been enqueued; enqueued: {self._told()}")

    def clear(self) -> None:
        """Forget what was enqueued so far."""
        self._sealed.clear()

    def run(self) -> None:
        """Run what was enqueued so far, in order; what these tasks enqueue is kept as well."""
        waiting, self._sealed[:] = list(self._sealed), []
        run_inline(self._app.runtime, waiting)

    def take(self, sealed: Sequence[Sealed]) -> None:
        """Keep messages; in the place of a broker."""
        self._sealed.extend(sealed)

    def _told(self) -> str:
        return ", ".join(_shown(task.name, task.args, task.kwargs) for task in self.tasks) or "nothing"

    def __len__(self) -> int:
        return len(self._sealed)

    def __iter__(self) -> Iterator[Enqueued]:
        return iter(self.tasks)


@contextmanager
def captured(app: App) -> Iterator[Captured]:
    """Keep what is enqueued in this block and send nothing."""
    queue = Captured(app)
    with app.delivering(queue.take):
        yield queue


@contextmanager
def inline(app: App) -> Iterator[None]:
    """Run what is enqueued in this block at once, in this process.

    Arguments and results are signed, written and read as in earnest. A task that fails does
    not raise where it is enqueued: its result does. Delays are not waited for.
    """

    def run(sealed: Sequence[Sealed]) -> None:
        run_inline(app.runtime, sealed)

    with app.delivering(run):
        yield


def _enqueued(one: Sealed) -> Enqueued:
    call = one.call
    return Enqueued(
        id=one.message.id.hex(), name=call.name, args=call.args, kwargs=call.kwargs, options=call.options
    )


def _shown(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    told = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    return f"{name}({', '.join(told)})"

"""Apps under test: tasks run at once, or captured and not sent."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from qcore.delivery import Delivery, InlineDelivery
from qcore.inline import run_inline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qcore.app import App
    from qcore.runtime import Runtime
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


class Captured(Delivery):
    """What was enqueued, in order, and not sent."""

    def __init__(self) -> None:
        #: each message with the runtime of its queue
        self._sealed: list[tuple[Runtime, Sealed]] = []

    @property
    def tasks(self) -> list[Enqueued]:
        """Return what was enqueued."""
        return [_enqueued(one) for _, one in self._sealed]

    @property
    def names(self) -> list[str]:
        """Return the names of what was enqueued."""
        return [one.call.name for _, one in self._sealed]

    def of(self, name: str) -> list[Enqueued]:
        """Return what was enqueued under a name."""
        return [task for task in self.tasks if task.name == name]

    def one(self, name: str) -> Enqueued:
        """Return the only task of that name.

        Raises:
            AssertionError: there is no such task, or there are several.

        """
        found = self.of(name)
        if len(found) != 1:
            raise AssertionError(
                f"{name} was enqueued {len(found)} times, not once; enqueued: {self._listed()}"
            )
        return found[0]

    def assert_enqueued(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Raise AssertionError unless a task was enqueued with exactly these arguments."""
        if not any(task.args == args and task.kwargs == kwargs for task in self.of(name)):
            wanted = _shown(name, args, kwargs)
            raise AssertionError(f"{wanted} was not enqueued; enqueued: {self._listed()}")

    def assert_nothing_enqueued(self) -> None:
        """Raise AssertionError if anything was enqueued."""
        if self._sealed:
            raise AssertionError(f"nothing should have been enqueued; enqueued: {self._listed()}")

    def clear(self) -> None:
        """Discard what was enqueued so far."""
        self._sealed.clear()

    def run(self) -> None:
        """Run what was enqueued so far, in order; what these tasks enqueue is captured as well."""
        waiting, self._sealed[:] = list(self._sealed), []
        for runtime in dict.fromkeys(runtime for runtime, _ in waiting):
            run_inline(runtime, [one for its, one in waiting if its is runtime])

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Keep messages instead of sending them."""
        self._sealed += [(runtime, one) for one in sealed]

    def _listed(self) -> str:
        return ", ".join(_shown(task.name, task.args, task.kwargs) for task in self.tasks) or "nothing"

    def __len__(self) -> int:
        return len(self._sealed)

    def __iter__(self) -> Iterator[Enqueued]:
        return iter(self.tasks)


@contextmanager
def captured(app: App) -> Iterator[Captured]:
    """Capture what is enqueued in this block and send nothing."""
    captured = Captured()
    with app.deliver_to(captured):
        yield captured


@contextmanager
def inline(app: App) -> Iterator[None]:
    """Run what is enqueued in this block at once, in this process.

    Arguments and results are signed, encoded and decoded as by a worker. A task that fails does
    not raise where it is enqueued: reading its result does. Delays are not waited for.
    """
    with app.deliver_to(InlineDelivery()):
        yield


def _enqueued(one: Sealed) -> Enqueued:
    call = one.call
    return Enqueued(
        id=one.message.id.hex(), name=call.name, args=call.args, kwargs=call.kwargs, options=call.options
    )


def _shown(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    shown = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    return f"{name}({', '.join(shown)})"

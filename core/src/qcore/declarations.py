"""What modules declare of schedules, beside their tasks; a cluster stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from qcore.errors import ScheduleError
from qcore_calendar.when import When
from qcore_names.resolve import main_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.config import Config
    from qcore.tasks.task import Sender


@attrs.frozen(kw_only=True)
class Declaration:
    """A task and when to run it, as a module declares it."""

    name: str
    #: of the function
    module: str
    task: Sender[..., Any]
    when: When


class DeclaredSchedules:
    """The schedules of `App.task(schedule=...)`; a cluster that imports their modules stores them."""

    #: whether this process has declared any
    any: ClassVar[bool] = False

    def __init__(self) -> None:
        self.all: list[Declaration] = []

    @property
    def modules(self) -> list[str]:
        """The modules that declare any, each once."""
        return sorted({one.module for one in self.all})

    def add(self, task: Sender[..., Any], schedule: When | Sequence[When]) -> None:
        """Keep the schedules of a task for the clusters that import its module.

        Raises:
            ScheduleError: a rule does not repeat, or a name is taken.

        """
        single = isinstance(schedule, When)
        module = _module_of(task)
        made = []
        for when in [schedule] if isinstance(schedule, When) else schedule:
            name = when.name or (task.name if single else f"{task.name} ({when.rule()})")
            _check(name, when)
            made.append(Declaration(name=name, module=module, task=task, when=when))
        # What the same task declared before is replaced: its module is loaded anew.
        own = (task.name, module)
        others = [one for one in self.all if (one.task.name, one.module) != own]
        names = [one.name for one in (*others, *made)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"two schedules are declared by the name of {twice[0]!r}; give one of them another name="
            raise ScheduleError(msg)
        self.all[:] = [*others, *made]
        DeclaredSchedules.any = True


class Declares(Protocol):
    """What declares tasks and their schedules: an `App`."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def declared_schedules(self) -> DeclaredSchedules:
        """The schedules of its tasks."""


def _module_of(task: Sender[..., Any]) -> str:
    """Return the module that declares a task, by the name under which workers import it."""
    module = str(getattr(task, "__module__", "") or "")
    script = main_script() if module == "__main__" else None
    return script.name if script is not None else module


def _check(name: str, when: When) -> None:
    rule = when.rule()
    if rule.text == "once":
        msg = f"schedule {name!r}: a declared schedule repeats; use app.schedules.create for one run"
        raise ScheduleError(msg)
    if when.next_run is None and (rule.days or rule.months):
        msg = f"schedule {name!r}: {rule.text} counts from a first slot; give next_run="
        raise ScheduleError(msg)
    if when.repeats == 0:
        msg = f"schedule {name!r}: a declared schedule is not paused; leave repeats= out, or pause it by hand"
        raise ScheduleError(msg)

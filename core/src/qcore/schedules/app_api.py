"""The part of an App that schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from qcore.errors import ScheduleError
from qcore.schedules.build import check_changes, edited
from qcore.schedules.service import ScheduleService
from qcore.schedules.when import When
from qcore.tasks.call import DEFAULT, options_from_django_q, with_options
from qcore.tasks.resolve import main_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    from qcore.config import Config
    from qcore.model import Schedule
    from qcore.runtime import Runtime
    from qcore.schedules.when import Overlap
    from qcore.tasks.call import Call, Options
    from qcore.tasks.task import Job, Sender

#: options of the specification that are about the moment of enqueuing
_NOT_OURS: Final = frozenset({"broker", "sync", "chain", "iter_count", "iter_cached"})


@attrs.frozen(kw_only=True)
class Declaration:
    """A task and when it is to be run, as a module declares it."""

    name: str
    #: of the function
    module: str
    task: Sender[..., Any]
    when: When


class Scheduling:
    """What an App says of schedules."""

    #: what `App.task(schedule=...)` was told; nothing of it is kept before a cluster starts
    declarations: list[Declaration]

    if TYPE_CHECKING:

        @property
        def config(self) -> Config:
            """The configuration."""

        @property
        def runtime(self) -> Runtime:
            """The assembled configuration."""

        def _bound(
            self,
            function: Callable[..., Any] | Sender[..., Any] | str,
            args: tuple[Any, ...],
            kwargs: Mapping[str, Any],
            options: Options,
        ) -> Call: ...

        def of(self, cluster: str) -> Self:
            """Return what speaks of another queue."""

        def _job(self, id: str) -> Job: ...

    def schedule(
        self,
        func: Callable[..., Any] | Sender[..., Any] | str,
        /,
        *args: Any,
        name: str | None = None,
        every: timedelta | float | None = None,
        cron: str | None = None,
        type: str | None = None,
        minutes: int | None = None,
        repeats: int = -1,
        next_run: datetime | float | None = None,
        time_zone: str | ZoneInfo | None = None,
        catch_up: bool | None = None,
        overlap: Overlap = "allow",
        jitter: float = 0.0,
        cluster: str | None = None,
        hook: Callable[..., Any] | str | None = None,
        intended_date_kwarg: str | None = None,
        q_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Have a call enqueued again and again, by any cluster of this queue.

        A schedule of the same name is replaced; with the same rule and no `next_run` it goes on.

        Args:
            func: what to call; a declared task keeps its options.
            *args: for the function.
            name: of the schedule, unique in the queue; the task's own by default.
            every: a real cadence, whole seconds: a time, or their number.
            cron: an expression of five fields, or six with seconds in front.
            type: once (the default), minutes, hourly, daily ... yearly or cron.
            minutes: a real cadence.
            repeats: how many slots; -1 = no limit, 0 = paused.
            next_run: the first slot; now by default, with cron the next time that fits.
            time_zone: whose wall clock the rule follows; the configuration's by default.
            catch_up: whether each missed slot is made up for; the configuration's by default.
            overlap: what is done with a slot while an earlier slot's task has not ended: `allow`,
                `skip` it, or `queue` one that runs when the other has ended.
            jitter: seconds at most by which a slot's task is delayed, evenly spread.
            cluster: queue its tasks are put on; this one by default.
            hook: called with the `Result` of each of its tasks.
            intended_date_kwarg: argument that is given the slot's time, ISO 8601.
            q_options: options of its tasks, as `async_task` takes them.
            **kwargs: for the function.

        Raises:
            NotSupported: the broker or the result store cannot do what is asked.
            ScheduleError: there is no such rule or zone.

        """
        when = When(
            name=name, every=every, cron=cron, type=type, minutes=minutes, repeats=repeats,
            next_run=next_run, time_zone=time_zone, catch_up=catch_up, overlap=overlap, jitter=jitter,
            intended_date_kwarg=intended_date_kwarg,
        )  # fmt: skip
        return self._timetable.add(self._bound(func, args, kwargs, _options(q_options, hook, cluster)), when)

    def reschedule(self, name: str, /, **changes: Any) -> Schedule:
        """Change parts of a schedule; the others stay, and a paused one stays paused.

        Its next slot stays where it is unless the rule changes to a cron expression, or `next_run`
        is given. A new rule counts from it.

        Args:
            name: of the schedule.
            **changes: the words of `schedule`, and `func`, `args` and `kwargs` for what it calls.

        Raises:
            NotSupported: the broker or the result store cannot do what is asked.
            ScheduleError: there is no such schedule, rule or zone.
            TypeError: there is no such part of a schedule; the message lists those there are.

        """
        check_changes(changes)
        call = self._bound(changes["func"], (), {}, DEFAULT) if "func" in changes else None
        options = _options(changes.get("q_options"), changes.get("hook"), None)
        runtime = self.runtime
        return self._timetable.edit(name, lambda before: edited(runtime, before, changes, options, call))

    def schedules(self) -> Sequence[Schedule]:
        """Return every schedule of the queue, by name."""
        return self._timetable.all()

    def unschedule(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""
        return self._timetable.remove(name)

    def pause(self, name: str) -> Schedule:
        """Let a schedule rest until it is resumed."""
        return self._timetable.pause(name)

    def resume(self, name: str) -> Schedule:
        """Let a paused or broken schedule go on; what it missed meanwhile is not made up for."""
        return self._timetable.resume(name)

    def run_now(self, name: str) -> Job:
        """Enqueue a schedule's task now; its slots stay as they are."""
        cluster, id_ = self._timetable.run(name)
        return self.of(cluster)._job(id_)  # noqa: SLF001 - an App, as this one is

    def preview(self, what: str, count: int = 10, *, time_zone: str | None = None) -> list[datetime]:
        """Return the next slots of a schedule, by its name, or of a rule such as `*/5 * * * *`."""
        return self._timetable.preview(what, count, time_zone)

    def declare(self, task: Sender[..., Any], told: When | Sequence[When]) -> None:
        """Remember when a task is to be run; clusters that import its module see to it.

        Raises:
            ScheduleError: a rule that does not repeat, or a name that is taken.

        """
        whens, module = [told] if isinstance(told, When) else list(told), _module_of(task)
        made = []
        for when in whens:
            name = when.name or (task.name if told is when else f"{task.name} ({when.rule()})")
            _check_declared(name, when)
            made.append(Declaration(name=name, module=module, task=task, when=when))
        # What the same task declared before is replaced: its module is loaded anew.
        own = (task.name, module)
        others = [one for one in self.declarations if (one.task.name, one.module) != own]
        names = [one.name for one in (*others, *made)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"two schedules are declared by the name of {twice[0]!r}; give one of them another name="
            raise ScheduleError(msg)
        self.declarations[:] = [*others, *made]

    @property
    def _timetable(self) -> ScheduleService:
        return ScheduleService(self.runtime)


def _module_of(task: Sender[..., Any]) -> str:
    """Return the module that declares a task, by the name under which workers import it."""
    module = str(getattr(task, "__module__", "") or "")
    script = main_script() if module == "__main__" else None
    return script.name if script is not None else module


def _check_declared(name: str, when: When) -> None:
    rule = when.rule()
    if rule.text == "once":
        msg = f"schedule {name!r}: what code declares has a rule that repeats; use app.schedule for one run"
        raise ScheduleError(msg)
    if when.next_run is None and (rule.days or rule.months):
        msg = f"schedule {name!r}: {rule.text} counts from a first slot; give next_run="
        raise ScheduleError(msg)
    if when.repeats == 0:
        msg = f"schedule {name!r}: what code declares is not paused; leave it out, or pause it by hand"
        raise ScheduleError(msg)


def _options(
    told: Mapping[str, Any] | None, hook: Callable[..., Any] | str | None, cluster: str | None
) -> Options:
    """Return the options a schedule's tasks are given beside their own.

    Raises:
        ScheduleError: an option says nothing of a schedule.

    """
    given = dict(told or {})
    wrong = sorted(_NOT_OURS & given.keys())
    if wrong:
        msg = f"q_options: {wrong[0]!r} says nothing of a schedule; leave it out"
        raise ScheduleError(msg)
    options = options_from_django_q(given) if given else DEFAULT
    beside = {key: value for key, value in (("hook", hook), ("cluster", cluster)) if value is not None}
    return with_options(options, beside) if beside else options

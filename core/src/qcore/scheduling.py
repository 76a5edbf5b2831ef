"""The part of an App that schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.call import DEFAULT
from qcore.timetable import Plan, Timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from qcore.call import Call, Options
    from qcore.model import Schedule
    from qcore.runtime import Runtime
    from qcore.task import Job, Sender


class Scheduling:
    """What an App says of schedules."""

    if TYPE_CHECKING:

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

        def _job(self, id: str) -> Job: ...

    def schedule(
        self,
        func: Callable[..., Any] | Sender[..., Any] | str,
        /,
        *args: Any,
        name: str | None = None,
        every: timedelta | None = None,
        cron: str | None = None,
        type: str | None = None,
        minutes: int | None = None,
        repeats: int = -1,
        next_run: datetime | float | None = None,
        time_zone: str | None = None,
        catch_up: bool | None = None,
        intended_date_kwarg: str | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Have a call enqueued again and again, by any cluster of this queue.

        A schedule of the same name is replaced; with the same rule and no `next_run` it goes on.

        Args:
            func: what to call; a declared task keeps its options.
            *args: for the function.
            name: of the schedule, unique in the queue; the task's own by default.
            every: a real cadence, whole seconds.
            cron: an expression of five fields, or six with seconds in front.
            type: once (the default), minutes, hourly, daily ... yearly or cron.
            minutes: a real cadence.
            repeats: how often; -1 = no limit, 0 = paused.
            next_run: the first slot; now by default, with cron the next time that fits.
            time_zone: whose wall clock the rule follows; the configuration's by default.
            catch_up: whether each missed slot is made up for; the configuration's by default.
            intended_date_kwarg: argument that is given the slot's time, ISO 8601.
            **kwargs: for the function.

        Raises:
            ScheduleError: there is no such rule or zone.

        """
        plan = Plan(
            name=name,
            every=every,
            cron=cron,
            type=type,
            minutes=minutes,
            repeats=repeats,
            next_run=next_run,
            time_zone=time_zone,
            catch_up=catch_up,
            date_kwarg=intended_date_kwarg,
        )
        return self._timetable.add(self._bound(func, args, kwargs, DEFAULT), plan)

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
        return self._job(self._timetable.run(name))

    def preview(self, what: str, count: int = 10, *, time_zone: str | None = None) -> list[datetime]:
        """Return the next slots of a schedule, by its name, or of a rule such as `*/5 * * * *`."""
        return self._timetable.preview(what, count, time_zone)

    @property
    def _timetable(self) -> Timetable:
        return Timetable(self.runtime)

"""`App.schedules`: create, change, list, pause, run and delete schedules."""

from __future__ import annotations

import itertools
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.errors import EnvelopeError, ScheduleError
from qcore.tasks.call import DEFAULT, with_options
from qcore.tasks.django_q import options_from_django_q
from qcore.tasks.task import Job, bind
from qcore_calendar import rules
from qcore_calendar.when import When, check_count
from qcore_schedules import messages
from qcore_schedules.build import (
    OF_ITS_TASKS,
    check_broker,
    check_changes,
    draft,
    edited,
    replacement,
    resumed,
)
from qcore_schedules.sealed import stored_schedules
from qcore_schedules.swap import swap
from qcore_text.wording import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from qcore.tasks.call import Call, Options
    from qcore.tasks.task import Producer, Sender
    from qcore_calendar.schedule import Schedule
    from qcore_calendar.when import Overlap
    from qcore_schedules.sealed import SealedSchedules

#: options of Django-Q that are about the moment of enqueuing
_NOT_OURS: Final = frozenset({"broker", "sync", "chain", "iter_count", "iter_cached"})


class Schedules:
    """The schedules of one `name`; any cluster of that name fires them.

    A program may call `create` at each start: if the rule is the same, and `next_run` is the same
    or not given, the next slot and the slots left stay, and what is paused or has ended stays so.
    Another rule fires no slot again, another `next_run` begins a new schedule.
    """

    def __init__(self, app: Producer) -> None:
        self._app = app

    def create(
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
        queue: str | None = None,
        priority: int | None = None,
        hook: Callable[..., Any] | str | None = None,
        intended_date_kwarg: str | None = None,
        q_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Create a schedule, or replace the one of the same name.

        Args:
            func: what to call; a declared task keeps its options.
            *args: for the function.
            name: of the schedule, unique among those of one `name`; the task's own by default.
            every: a fixed interval of whole seconds: a `timedelta` or a number.
            cron: an expression of five fields, or of six with seconds first.
            type: once (the default), minutes, hourly, daily ... yearly or cron.
            minutes: a fixed interval.
            repeats: how many slots; -1 = no limit, 0 = paused.
            next_run: the first slot; now by default, with cron the next time that fits.
            time_zone: whose wall clock the rule follows; the configuration's by default.
            catch_up: fire each missed slot later, or only the oldest; as configured by default.
            overlap: what is done with a slot while an earlier slot's task has not ended: `allow`,
                `skip` it, or `queue` one that runs when the other has ended.
            jitter: most seconds by which a slot's task is delayed, evenly spread.
            cluster: name of the clusters that run its tasks; this one by default.
            queue: of its tasks, one of theirs.
            priority: of its tasks, -100 to 100.
            hook: called with the `Result` of each of its tasks.
            intended_date_kwarg: argument that is given the slot's time, ISO 8601.
            q_options: options of its tasks, as `async_task` takes them.
            **kwargs: for the function.

        Raises:
            NotSupported: the broker or the result store cannot do what is asked.
            ScheduleError: there is no such rule or zone.

        """
        when = When(
            name=name, every=every, cron=cron, type=type, minutes=minutes, repeats=repeats, next_run=next_run,
            time_zone=time_zone, catch_up=catch_up, overlap=overlap, jitter=jitter,
            intended_date_kwarg=intended_date_kwarg,
        )  # fmt: skip
        options = _options(q_options, hook=hook, cluster=cluster, queue=queue, priority=priority)
        return self._store(bind(func, args, kwargs, options), when)

    def update(self, name: str, /, **changes: Any) -> Schedule:
        """Change parts of a schedule; the others stay, and a paused schedule stays paused.

        Its next slot stays unless the rule changes to a cron expression, or `next_run` is given.
        A new rule counts from that slot.

        Args:
            name: of the schedule.
            **changes: arguments of `create`, and `func`, `args` and `kwargs` for what it calls.

        Raises:
            NotSupported: the broker or the result store cannot do what is asked.
            ScheduleError: there is no such schedule, rule or zone.
            TypeError: a schedule has no such part; the message lists those it has.

        """
        check_changes(changes)
        call = bind(changes["func"], (), {}) if "func" in changes else None
        options = _options(changes.get("q_options"), **{key: changes.get(key) for key in OF_ITS_TASKS})
        runtime = self._app.runtime

        def changed(before: Schedule) -> Schedule:
            after = edited(runtime, before, changes, options, call)
            check_broker(runtime, after)
            return after

        return self._change(name, changed)

    def get(self, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleError: there is none of this name.

        """
        with stored_schedules(self._app.runtime) as store:
            return _existing(_stored(store, name), name)

    def delete(self, name: str) -> bool:
        """Delete a schedule; return whether there was one. The tasks it has enqueued stay."""
        with stored_schedules(self._app.runtime) as store:
            return store.remove(name)

    def pause(self, name: str) -> Schedule:
        """Have a schedule fire no slots until it is resumed.

        Raises:
            ScheduleError: there is none of this name.

        """
        return self._change(
            name, lambda one: attrs.evolve(one, repeats=0, kept=one.repeats) if one.repeats else one
        )

    def resume(self, name: str) -> Schedule:
        """Have a paused or broken schedule fire again; slots it has missed meanwhile are skipped.

        Raises:
            ScheduleError: there is none of this name, or it has no slots left.

        """
        return self._change(name, lambda one: resumed(one, self._app.runtime.clock.now()))

    def run(self, name: str) -> Job[Any]:
        """Enqueue a schedule's task now; its slots stay as they are.

        Raises:
            ScheduleError: there is none of this name.

        """
        runtime = self._app.runtime
        now = runtime.clock.now()
        id_ = int(now * 1000).to_bytes(6, "big") + os.urandom(10)
        one = self.get(name)
        opened = messages.OpenedSchedule(runtime, one)
        message = opened.message(float(int(now)), id_)
        if message is not None:
            with opened.runtime.brokers.connection(create=True) as broker:
                broker.enqueue([message])
        return Job(self._app.for_cluster(one.cluster), id_.hex())

    def preview(self, what: str, count: int = 10, *, time_zone: str | None = None) -> list[datetime]:
        """Return the next slots of a schedule, by its name, or of a rule such as `*/5 * * * *`."""
        check_count(count)
        runtime = self._app.runtime
        with stored_schedules(runtime) as store:
            one = _stored(store, what)
        if one is not None:
            where, first = rules.zone(one.time_zone), one.next_run
            following = rules.slots(rules.parse(one.rule), first, where, one.anchor)
            found = itertools.chain([first], following)
            count = min(count, one.repeats) if one.repeats > 0 else count
        else:
            where, now = rules.zone(time_zone or runtime.config.time_zone), float(int(runtime.clock.now()))
            found = itertools.chain(rules.slots(rules.parse(what), now, where, now))
        try:
            return [datetime.fromtimestamp(slot, where) for slot in itertools.islice(found, count)]
        except (ValueError, OverflowError) as exc:
            msg = f"{what!r} has a slot that is not a valid time: {exc}; change its next_run"
            raise ScheduleError(msg) from exc

    def _store(self, call: Call, when: When) -> Schedule:
        """Store a schedule; one of the same name is replaced."""
        runtime = self._app.runtime
        made = draft(runtime, call, when)
        check_broker(runtime, made)

        def replaced(before: Schedule | None) -> Schedule:
            return made if before is None else replacement(before, made, runtime.clock.now())

        with stored_schedules(runtime, create=True) as store:
            after, _ = swap(store, made.name, replaced, instead_of=(EnvelopeError,))
        return made if after is None else after

    def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule that clusters may be firing at the same time."""
        with stored_schedules(self._app.runtime) as store:
            _existing(_stored(store, name), name)
            after, _ = swap(store, name, lambda before: change(_existing(before, name)))
        return _existing(after, name)

    # The last one, because the annotations of the others mean the built-in `list`.
    def list(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        with stored_schedules(self._app.runtime) as store:
            return store.all()


def _stored(store: SealedSchedules, name: str) -> Schedule | None:
    """Return the schedule of this name; text that cannot be a name is not given to the backend."""
    return store.get(name) if name.isprintable() else None


def _existing(found: Schedule | None, name: str) -> Schedule:
    if found is None:
        msg = f"no schedule {name!r}; {typed('schedule list')} shows those there are"
        raise ScheduleError(msg)
    return found


def _options(q_options: Mapping[str, Any] | None, **beside: Any) -> Options:
    """Return the options that a schedule's tasks are given beside their own.

    Raises:
        ScheduleError: an option has no meaning for a schedule.

    """
    given = dict(q_options or {})
    wrong = sorted(_NOT_OURS & given.keys())
    if wrong:
        msg = f"q_options: {wrong[0]!r} has no meaning for a schedule; leave it out"
        raise ScheduleError(msg)
    options = options_from_django_q(given) if given else DEFAULT
    beside = {key: value for key, value in beside.items() if value is not None}
    return with_options(options, beside) if beside else options

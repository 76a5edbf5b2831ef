"""Which schedules there are: made, listed, paused, resumed, run, removed."""

from __future__ import annotations

import itertools
import os
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from qcore import cadence, scheduled
from qcore.call import evolve
from qcore.errors import BackendUnavailable, ScheduleError
from qcore.model import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from zoneinfo import ZoneInfo

    from qcore.call import Call
    from qcore.cadence import Rule
    from qcore.runtime import Runtime

#: Longest name of a schedule, characters.
_NAME: Final = 200
#: Changes of others that one change of ours gives way to.
_TRIES: Final = 20


@attrs.frozen(kw_only=True)
class Plan:
    """When a call is to be made, as `App.schedule` is told."""

    name: str | None = None
    every: timedelta | None = None
    cron: str | None = None
    type: str | None = None
    minutes: int | None = None
    repeats: int = -1
    next_run: datetime | float | None = None
    time_zone: str | None = None
    catch_up: bool | None = None
    date_kwarg: str | None = None

    def rule(self) -> Rule:
        """Return the one rule it names."""
        told = [key for key in ("every", "cron", "minutes") if getattr(self, key) is not None]
        kind = self.type or (told[0] if told else "once")
        if told not in ([], [kind]) or (kind == "cron" and not told) or (kind == "every" and not told):
            msg = (
                f"a schedule has one rule, not type={self.type!r} with {' and '.join(told) or 'no cron'};"
                " give every=, cron=, minutes= or type="
            )
            raise ScheduleError(msg)
        if self.every is not None:
            return cadence.every(self.every)
        if kind == "minutes":
            return cadence.every(timedelta(minutes=1 if self.minutes is None else self.minutes))
        if self.cron is None and kind not in cadence.NAMES:
            msg = f"type={kind!r} is no type of schedule; there are cron, minutes, {', '.join(cadence.NAMES)}"
            raise ScheduleError(msg)
        found = cadence.parse(self.cron or kind)
        if self.cron is not None and not found.cron:
            msg = f"cron={self.cron!r} is no cron expression; say type={self.cron!r}"
            raise ScheduleError(msg)
        return found


class Timetable:
    """The schedules of one queue."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add(self, call: Call, plan: Plan) -> Schedule:
        """Keep a schedule, in the place of one of the same name."""
        name = plan.name or call.name
        if not name.isprintable() or len(name) > _NAME:
            msg = f"{name!r} is no name of a schedule: at most {_NAME} printable characters"
            raise ScheduleError(msg)
        if plan.repeats < -1:
            msg = f"repeats={plan.repeats!r}: -1 is no limit, 0 is paused"
            raise ScheduleError(msg)
        rule, zone_name = plan.rule(), plan.time_zone or self._runtime.config.time_zone
        where = cadence.zone(zone_name)
        options = evolve(call.options, {"label": call.options.label or name})
        call = type(call)(call.name, call.args, call.kwargs, options, options.head(call.name))
        now = float(int(time.time()))
        first = cadence.next_slot(rule, now, where, now) if rule.cron else now
        if plan.next_run is not None:
            first = _instant(plan.next_run, where)
        assert first is not None  # a cron expression without any slot is refused by `parse`
        made = Schedule(
            name=name,
            task=call.name,
            body=scheduled.seal(self._runtime, name, call, plan.date_kwarg),
            rule=rule.text,
            time_zone=zone_name,
            next_run=first,
            anchor=first,
            repeats=plan.repeats,
            kept=-1 if plan.repeats == 0 else 0,
            catch_up=plan.catch_up,
        )
        with self._runtime.schedulers.lend() as store:
            before = next((one for one in store.all() if one.name == name), None)
            if before is not None and plan.next_run is None:
                made = _going_on(before, made)
            store.add(made)
        return made

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        with self._runtime.schedulers.lend() as store:
            return store.all()

    def get(self, name: str) -> Schedule:
        """Return the schedule of this name."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            msg = f"no schedule {name!r}; qcore schedule list shows those there are"
            raise ScheduleError(msg)
        return found

    def remove(self, name: str) -> bool:
        """Forget a schedule."""
        with self._runtime.schedulers.lend() as store:
            return store.remove(name)

    def pause(self, name: str) -> Schedule:
        """Let a schedule rest; how often it is to run is kept."""
        return self._change(
            name, lambda one: attrs.evolve(one, repeats=0, kept=one.repeats) if one.repeats else one
        )

    def resume(self, name: str) -> Schedule:
        """Let a paused or broken schedule go on with its next slot from now."""
        return self._change(name, _resumed)

    def run(self, name: str) -> str:
        """Enqueue a schedule's task now, beside its slots; return the task's id."""
        now = time.time()
        id_ = int(now * 1000).to_bytes(6, "big") + os.urandom(10)
        message = scheduled.message(self._runtime, self.get(name), float(int(now)), id_)
        if message is not None:
            with self._runtime.brokers.lend() as broker:
                broker.enqueue([message])
        return id_.hex()

    def preview(self, what: str, count: int, time_zone: str | None) -> list[datetime]:
        """Return the next slots of a schedule, or of a rule."""
        one = next((one for one in self.all() if one.name == what), None)
        if one is not None:
            where, first = cadence.zone(one.time_zone), one.next_run
            following = cadence.slots(cadence.parse(one.rule), first, where, one.anchor)
            found = itertools.chain([first], following)
            count = min(count, one.repeats) if one.repeats > 0 else count
        else:
            where, now = cadence.zone(time_zone or self._runtime.config.time_zone), float(int(time.time()))
            found = itertools.chain(cadence.slots(cadence.parse(what), now, where, now))
        return [datetime.fromtimestamp(slot, where) for slot in itertools.islice(found, count)]

    def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule that clusters may be firing at the same time."""
        for _ in range(_TRIES):
            before = self.get(name)
            after = change(before)
            with self._runtime.schedulers.lend() as store:
                if after == before or store.advance(before, after):
                    return after
        msg = f"schedule {name!r} changes all the time; try again"
        raise BackendUnavailable(msg)


def _resumed(one: Schedule) -> Schedule:
    if one.repeats == 0 and one.kept == 0:
        msg = f"schedule {one.name!r} is done: it has no slots left; schedule it anew"
        raise ScheduleError(msg)
    if one.repeats and not one.fault:
        return one
    now = time.time()
    following: float | None = one.next_run
    if one.next_run <= now:
        following = cadence.next_slot(cadence.parse(one.rule), now, cadence.zone(one.time_zone), one.anchor)
    return attrs.evolve(
        one,
        repeats=one.repeats or one.kept,
        kept=0,
        fault="",
        next_run=one.next_run if following is None else following,
    )


def _going_on(before: Schedule, made: Schedule) -> Schedule:
    """Return a schedule that takes the place of another with the same rule where that one stands.

    A program that says at each start what it wants neither starts the count anew nor resumes
    what was paused by hand.
    """
    done = before.repeats == before.kept == 0
    if done or (before.rule, before.time_zone) != (made.rule, made.time_zone):
        return made
    repeats, kept = made.repeats, made.kept
    if before.repeats == 0:
        repeats, kept = 0, made.repeats or made.kept
    elif 0 < before.repeats < made.repeats:
        repeats = before.repeats
    return attrs.evolve(made, next_run=before.next_run, anchor=before.anchor, repeats=repeats, kept=kept)


def _instant(when: datetime | float, where: ZoneInfo) -> float:
    if isinstance(when, datetime):
        # Without a zone of its own it is what the schedule's wall clock shows.
        return float(int((when if when.tzinfo else when.replace(tzinfo=where)).timestamp()))
    if isinstance(when, bool) or not isinstance(when, int | float):
        msg = f"next_run={when!r}: give a datetime, or seconds since the epoch"
        raise ScheduleError(msg)
    return float(int(when))

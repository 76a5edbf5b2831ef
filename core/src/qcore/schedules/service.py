"""The schedules of a queue: add, change, list, pause, resume, run, remove."""

from __future__ import annotations

import itertools
import os
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from qcore.errors import EnvelopeError, NotSupported, ScheduleError
from qcore.schedules import messages
from qcore.schedules.build import draft
from qcore.schedules.swap import swap
from qcore_calendar import rules
from qcore_calendar.slots import skip_missed
from qcore_calendar.when import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.messages.sealed_schedules import SealedSchedules
    from qcore.model import Schedule
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call
    from qcore_calendar.when import When


class ScheduleService:
    """The schedules of one queue."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add(self, call: Call, when: When) -> Schedule:
        """Store a schedule; one of the same name is replaced."""
        made = draft(self._runtime, call, when)
        self._check(made)

        def replaced(before: Schedule | None) -> Schedule:
            return made if before is None else replacement(before, made, self._runtime.clock.now())

        with self._runtime.schedule_stores.connection(create=True) as store:
            after, _ = swap(store, made.name, replaced, instead_of=(EnvelopeError,))
        return made if after is None else after

    def edit(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule."""

        def checked(before: Schedule) -> Schedule:
            after = change(before)
            self._check(after)
            return after

        return self._change(name, checked)

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        with self._runtime.schedule_stores.connection() as store:
            return store.all()

    def get(self, name: str) -> Schedule:
        """Return the schedule of this name."""
        with self._runtime.schedule_stores.connection() as store:
            return _existing(_stored(store, name), name)

    def remove(self, name: str) -> bool:
        """Remove a schedule."""
        with self._runtime.schedule_stores.connection() as store:
            return store.remove(name)

    def pause(self, name: str) -> Schedule:
        """Pause a schedule; the number of its remaining runs is kept."""
        return self._change(
            name, lambda one: attrs.evolve(one, repeats=0, kept=one.repeats) if one.repeats else one
        )

    def resume(self, name: str) -> Schedule:
        """Resume a schedule that is paused or disabled, with its next slot from now."""
        return self._change(name, lambda one: _resumed(one, self._runtime.clock.now()))

    def run(self, name: str) -> tuple[str, str]:
        """Enqueue a schedule's task now, beside its slots; return its queue, empty = ours, and its id."""
        now = self._runtime.clock.now()
        id_ = int(now * 1000).to_bytes(6, "big") + os.urandom(10)
        one = self.get(name)
        opened = messages.OpenedSchedule(self._runtime, one)
        message = opened.message(float(int(now)), id_)
        if message is not None:
            with opened.runtime.brokers.connection(create=True) as broker:
                broker.enqueue([message])
        return one.queue, id_.hex()

    def preview(self, what: str, count: int, time_zone: str | None) -> list[datetime]:
        """Return the next slots of a schedule, or of a rule."""
        check_count(count)
        with self._runtime.schedule_stores.connection() as store:
            one = _stored(store, what)
        if one is not None:
            where, first = rules.zone(one.time_zone), one.next_run
            following = rules.slots(rules.parse(one.rule), first, where, one.anchor)
            found = itertools.chain([first], following)
            count = min(count, one.repeats) if one.repeats > 0 else count
        else:
            where, now = (
                rules.zone(time_zone or self._runtime.config.time_zone),
                float(int(self._runtime.clock.now())),
            )
            found = itertools.chain(rules.slots(rules.parse(what), now, where, now))
        try:
            return [datetime.fromtimestamp(slot, where) for slot in itertools.islice(found, count)]
        except (ValueError, OverflowError) as exc:
            msg = f"{what!r} has a slot that is not a valid time: {exc}; change its next_run"
            raise ScheduleError(msg) from exc

    def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule that clusters may be firing at the same time."""
        with self._runtime.schedule_stores.connection() as store:
            _existing(_stored(store, name), name)
            after, _ = swap(store, name, lambda before: change(_existing(before, name)))
        return _existing(after, name)

    def _check(self, made: Schedule) -> None:
        """Refuse what the broker of its tasks cannot do.

        Raises:
            NotSupported: it cannot.

        """
        there = messages.destination(self._runtime, made.queue)
        if made.jitter:
            with there.brokers.connection(create=True) as broker:
                if not broker.capabilities.delay:
                    msg = (
                        f"jitter={made.jitter!r} needs a broker that can delay a message, "
                        f"which {there.config.broker!r} cannot"
                    )
                    raise NotSupported(msg)


def _stored(store: SealedSchedules, name: str) -> Schedule | None:
    """Return the schedule of this name; text that cannot be a name is not given to the backend."""
    return store.get(name) if name.isprintable() else None


def _existing(found: Schedule | None, name: str) -> Schedule:
    if found is None:
        msg = f"no schedule {name!r}; qcore schedule list shows those there are"
        raise ScheduleError(msg)
    return found


def replacement(before: Schedule, made: Schedule, now: float) -> Schedule:
    """Return a schedule that replaces another; with the same first slot it goes on where that one is.

    A program that declares its schedules at each start neither fires a slot twice, nor resets their
    counts, nor resumes what was paused by hand, nor begins again what has ended. Slots missed while
    the old one was disabled are not caught up. Another first slot begins a new schedule.
    """
    ended = before.repeats == before.kept == 0
    if made.first not in ("", before.first) or (made.rule == "once" and ended and not made.first):
        return made
    same = (before.rule, before.time_zone) == (made.rule, made.time_zone)
    if ended and same and (made.repeats >= 0 or made.rule == "once"):
        return _going_on(before, attrs.evolve(made, repeats=0, kept=0), now)
    if ended:
        return skip_missed(made, max(before.next_run, now)) if made.first else made
    left, wanted = before.repeats or before.kept, made.repeats or made.kept
    left = min(left, wanted) if same and left > 0 and wanted > 0 else wanted
    paused = 0 in (before.repeats, made.repeats)
    after = attrs.evolve(made, repeats=0, kept=left) if paused else attrs.evolve(made, repeats=left)
    if same:
        return _going_on(before, after, now)
    # The slots before the planned one were fired by the old rule.
    return skip_missed(after, before.next_run - 1) if made.first else after


def _going_on(before: Schedule, after: Schedule, now: float) -> Schedule:
    """Return a schedule at the slot of the one that it replaces."""
    first = after.first or before.first
    after = attrs.evolve(after, next_run=before.next_run, anchor=before.anchor, first=first)
    return skip_missed(after, now) if before.fault else after


def _resumed(one: Schedule, now: float) -> Schedule:
    if one.repeats == 0 and one.kept == 0:
        msg = (
            f"schedule {one.name!r} has ended: it has no slots left; "
            "give it more by qcore schedule update --repeats"
        )
        raise ScheduleError(msg)
    if one.repeats and not one.fault:
        return one
    return skip_missed(attrs.evolve(one, repeats=one.repeats or one.kept, kept=0, fault=""), now)

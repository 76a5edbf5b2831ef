"""Which schedules there are: made, changed, listed, paused, resumed, run, removed."""

from __future__ import annotations

import itertools
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BackendUnavailable, NotSupported, ScheduleError
from qcore.schedules import messages, rules
from qcore.schedules.build import draft
from qcore.schedules.slots import fresh
from qcore.schedules.when import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import ScheduleStore
    from qcore.model import Schedule
    from qcore.runtime import Runtime
    from qcore.schedules.when import When
    from qcore.tasks.call import Call

#: Changes of others that one change of ours gives way to.
_TRIES: Final = 20


class ScheduleService:
    """The schedules of one queue."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add(self, call: Call, when: When) -> Schedule:
        """Keep a schedule, in the place of one of the same name."""
        made = draft(self._runtime, call, when)
        self._check(made)
        for _ in range(_TRIES):
            with self._runtime.schedule_stores.connection() as store:
                before = store.get(made.name)
                if before is None:
                    store.add(made)
                    return made
                after = made if when.next_run is not None else going_on(before, made)
                # A cluster may be firing it: what has moved on meanwhile is not put back.
                if after == before or store.advance(before, after):
                    return after
        raise _restless(made.name)

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
            found = _kept(store, name)
        if found is None:
            msg = f"no schedule {name!r}; qcore schedule list shows those there are"
            raise ScheduleError(msg)
        return found

    def remove(self, name: str) -> bool:
        """Forget a schedule."""
        with self._runtime.schedule_stores.connection() as store:
            return store.remove(name)

    def pause(self, name: str) -> Schedule:
        """Let a schedule rest; how often it is to run is kept."""
        return self._change(
            name, lambda one: attrs.evolve(one, repeats=0, kept=one.repeats) if one.repeats else one
        )

    def resume(self, name: str) -> Schedule:
        """Let a paused or broken schedule go on with its next slot from now."""
        return self._change(name, _resumed)

    def run(self, name: str) -> tuple[str, str]:
        """Enqueue a schedule's task now, beside its slots; return its queue, empty = ours, and its id."""
        now = time.time()
        id_ = int(now * 1000).to_bytes(6, "big") + os.urandom(10)
        one = self.get(name)
        message = messages.message(self._runtime, one, float(int(now)), id_)
        if message is not None:
            there = messages.destination(self._runtime, one.cluster)
            with there.brokers.connection() as broker:
                broker.enqueue([message])
        return one.cluster, id_.hex()

    def preview(self, what: str, count: int, time_zone: str | None) -> list[datetime]:
        """Return the next slots of a schedule, or of a rule."""
        check_count(count)
        with self._runtime.schedule_stores.connection() as store:
            one = _kept(store, what)
        if one is not None:
            where, first = rules.zone(one.time_zone), one.next_run
            following = rules.slots(rules.parse(one.rule), first, where, one.anchor)
            found = itertools.chain([first], following)
            count = min(count, one.repeats) if one.repeats > 0 else count
        else:
            where, now = rules.zone(time_zone or self._runtime.config.time_zone), float(int(time.time()))
            found = itertools.chain(rules.slots(rules.parse(what), now, where, now))
        try:
            return [datetime.fromtimestamp(slot, where) for slot in itertools.islice(found, count)]
        except (ValueError, OverflowError) as exc:
            msg = f"{what!r} has a slot that is no time: {exc}; change its next_run"
            raise ScheduleError(msg) from exc

    def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule that clusters may be firing at the same time."""
        for _ in range(_TRIES):
            before = self.get(name)
            after = change(before)
            with self._runtime.schedule_stores.connection() as store:
                if after == before or store.advance(before, after):
                    return after
        raise _restless(name)

    def _check(self, made: Schedule) -> None:
        """Refuse what the broker or the store of its tasks cannot do.

        Raises:
            NotSupported: they cannot.

        """
        there = messages.destination(self._runtime, made.cluster)
        if made.overlap != "allow":
            with there.stores.connection() as store:
                if store.notes is None:
                    msg = (
                        f"overlap={made.overlap!r} needs a result store that keeps notes, which "
                        f"{there.config.result_store or there.config.broker!r} does not; use sqlite or redis"
                    )
                    raise NotSupported(msg)
        if made.jitter:
            with there.brokers.connection() as broker:
                if not broker.capabilities.delay:
                    msg = (
                        f"jitter={made.jitter!r} needs a broker that can delay a message, "
                        f"which {there.config.broker!r} cannot"
                    )
                    raise NotSupported(msg)


def _kept(store: ScheduleStore, name: str) -> Schedule | None:
    """Return the schedule of this name; what cannot name any, a backend need not be able to write."""
    return store.get(name) if name.isprintable() else None


def going_on(before: Schedule, made: Schedule) -> Schedule:
    """Return a schedule that takes the place of another; with the same rule it stands where that one does.

    A program that says at each start what it wants neither starts the count anew nor resumes
    what was paused by hand; what was missed while that one was broken is not made up for.
    """
    if before.repeats == before.kept == 0:
        return made
    same = (before.rule, before.time_zone) == (made.rule, made.time_zone)
    left, told = before.repeats or before.kept, made.repeats or made.kept
    left = min(left, told) if same and left > 0 and told > 0 else told
    paused = 0 in (before.repeats, made.repeats)
    after = attrs.evolve(made, repeats=0, kept=left) if paused else attrs.evolve(made, repeats=left)
    if not same:
        return after
    after = attrs.evolve(after, next_run=before.next_run, anchor=before.anchor)
    return fresh(after, time.time()) if before.fault else after


def _resumed(one: Schedule) -> Schedule:
    if one.repeats == 0 and one.kept == 0:
        msg = f"schedule {one.name!r} is done: it has no slots left; schedule it anew"
        raise ScheduleError(msg)
    if one.repeats and not one.fault:
        return one
    return fresh(attrs.evolve(one, repeats=one.repeats or one.kept, kept=0, fault=""), time.time())


def _restless(name: str) -> BackendUnavailable:
    return BackendUnavailable(f"schedule {name!r} changes all the time; try again")

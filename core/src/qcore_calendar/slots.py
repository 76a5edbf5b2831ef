"""Which slots are due, and the next state of their schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

from qcore_calendar import rules
from qcore_calendar.rules import slots as following

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from qcore_calendar.rules import Rule
    from qcore_calendar.schedule import Schedule

#: Most missed slots of a wall clock that are counted for a log line.
_COUNTED: Final = 1000


@attrs.frozen(kw_only=True)
class CatchUp:
    """Which missed slots are caught up."""

    #: fire each missed slot, or one for all of them; a schedule may override it
    each: bool = True
    #: most slots of one schedule
    limit: int = 1000
    #: seconds; of slots missed longer ago only the newest is fired; None = no limit
    window: float | None = None


def due_slots(
    schedule: Schedule, now: float, catch_up: CatchUp, most: int
) -> tuple[list[float], Schedule | None]:
    """Return the slots to fire now, oldest first, and the schedule's next state; None = removed.

    Args:
        schedule: one that is due.
        now: epoch seconds.
        catch_up: which missed slots to fire.
        most: slots to fire at once.

    Raises:
        ScheduleError: its rule or its time zone is not valid.

    """
    rule, where = rules.parse(schedule.rule), rules.zone(schedule.time_zone)
    first, anchor = schedule.next_run, schedule.anchor
    then: float | None
    if catch_up.each if schedule.catch_up is None else schedule.catch_up:
        slots = missed_slots(rule, first, now, where, anchor, bound=catch_up.limit, window=catch_up.window)
        then = rules.next_slot(rule, slots[-1], where, anchor)
    else:
        slots = [first]
        then = rules.next_slot(rule, max(first, now), where, anchor)
    most = min(most, schedule.repeats) if schedule.repeats > 0 else most
    if len(slots) > most:
        slots, then = slots[:most], slots[most]
    return slots, _next_state(schedule, len(slots), then)


def skip_missed(schedule: Schedule, now: float) -> Schedule:
    """Return a schedule whose next slot is after `now`: earlier slots are not caught up."""
    if schedule.next_run > now:
        return schedule
    rule, where = rules.parse(schedule.rule), rules.zone(schedule.time_zone)
    slot = rules.next_slot(rule, now, where, schedule.anchor)
    return schedule if slot is None else attrs.evolve(schedule, next_run=slot)


def passed_over(schedule: Schedule, now: float) -> float | None:
    """Return the next slot of a schedule's rule that it does not fire, None if it fires that one."""
    if schedule.repeats == 0 or schedule.fault or schedule.next_run <= max(now, schedule.anchor):
        return None
    rule, where = rules.parse(schedule.rule), rules.zone(schedule.time_zone)
    slot = rules.next_slot(rule, now, where, schedule.anchor)
    return None if slot is None or slot >= schedule.next_run else slot


def count_dropped(schedule: Schedule, slots: list[float]) -> str:
    """Return as text how many slots before these are not caught up; empty = none."""
    if slots[0] <= schedule.next_run:
        return ""
    rule, where = rules.parse(schedule.rule), rules.zone(schedule.time_zone)
    first, anchor = schedule.next_run, schedule.anchor
    if rule.seconds:
        # A first slot that was set by hand need not follow the rule.
        count = math.ceil((slots[0] - anchor) / rule.seconds) - math.floor((first - anchor) / rule.seconds)
        return str(count)
    count = 1
    for slot in following(rule, first, where, anchor):
        if slot >= slots[0]:
            break
        if count == _COUNTED:
            return f"more than {count}"
        count += 1
    return str(count)


def missed_slots(
    rule: Rule,
    first: float,
    now: float,
    where: ZoneInfo,
    anchor: float,
    *,
    bound: int,
    window: float | None = None,
) -> list[float]:
    """Return the slots from `first` to `now` to catch up, oldest first.

    If there are more than `bound`, the newest are returned. If all are older than `window` seconds,
    only the newest is. `first` is a slot whatever the rule says.
    """
    window = math.inf if window is None else window
    start = now - window
    span = float(bound)
    # Only the end of a wide window may be needed: read the last seconds first, then twice as many.
    while span < window and first < now - span:
        if len(found := _between(rule, now - span, now, where, anchor)) >= bound:
            return found[-bound:]
        span *= 2
    found = _between(rule, max(first, start), now, where, anchor)
    if first >= start:
        found.insert(0, first)
    return found[-bound:] or [_newest(rule, first, now, where, anchor)]


def _between(rule: Rule, after: float, until: float, where: ZoneInfo, anchor: float) -> list[float]:
    found = []
    for slot in following(rule, after, where, anchor):
        if slot > until:
            break
        found.append(slot)
    return found


def _newest(rule: Rule, first: float, now: float, where: ZoneInfo, anchor: float) -> float:
    """Return the last slot up to `now` of a rule that has had none for long."""
    # As in `missed_slots`: in between there may be a month of minutes.
    span = 1.0
    while first < now - span:
        if found := _between(rule, now - span, now, where, anchor):
            return found[-1]
        span *= 2
    return [first, *_between(rule, first, now, where, anchor)][-1]


def _next_state(schedule: Schedule, fired: int, then: float | None) -> Schedule | None:
    if schedule.rule == "once" and schedule.repeats < 0:
        return None
    left = max(0, schedule.repeats - fired) if schedule.repeats > 0 else -1
    if then is None or left == 0:
        return attrs.evolve(schedule, repeats=0, kept=0)
    return attrs.evolve(schedule, next_run=then, repeats=left)

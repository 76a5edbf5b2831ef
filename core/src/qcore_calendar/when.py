"""When a schedule makes its call, as a program declares it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, get_args

import attrs

from qcore.errors import ScheduleError
from qcore_calendar import rules, wall_clock
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from qcore_calendar.rules import Rule

#: what becomes of a slot while an earlier slot's task has not ended
Overlap = Literal["allow", "skip", "queue"]

#: Longest name of a schedule, characters.
_NAME: Final = 200
#: Any instant, from which the shortest time between two slots is measured: 2026-01-01.
_SAMPLE: Final = 1_767_225_600.0
#: The first and the last time of a slot, epoch seconds: the year 1, and the year 9000 in which rules end.
_BEGIN: Final = datetime(1, 1, 2, tzinfo=UTC).timestamp()
_END: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


class WhenFields(TypedDict, total=False):
    """The fields of `When` that `cron` and `every` take beside their rule."""

    name: str | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    repeats: int
    next_run: datetime | float | None
    catch_up: bool | None
    overlap: Overlap
    jitter: float
    intended_date_kwarg: str | None


def _zone_name(where: str | ZoneInfo | None) -> str | None:
    """Return the name of a time zone, also of a `zoneinfo` object."""
    key = getattr(where, "key", None)
    return key if isinstance(where, tzinfo) and isinstance(key, str) else where  # type: ignore[return-value]  # refused by `zone`


@attrs.frozen(kw_only=True)
class When:
    """When a schedule makes its call: one rule and its options."""

    #: of the schedule; the task's own by default
    name: str | None = None
    #: a fixed interval, whole seconds: a timedelta, or a number of seconds
    every: timedelta | float | None = None
    #: an expression of five fields, or six with the seconds first
    cron: str | None = None
    #: once (the default), minutes, hourly, daily ... yearly or cron
    type: str | None = None
    #: a fixed interval, minutes
    minutes: int | None = None
    #: for the function, where the schedule is declared in code
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    #: number of slots; -1 = no limit, 0 = paused
    repeats: int = -1
    #: the first slot
    next_run: datetime | float | None = None
    #: time zone of the wall clock that the rule follows; the configuration's by default
    time_zone: str | None = attrs.field(default=None, converter=_zone_name)
    #: whether each missed slot is caught up; the configuration's by default
    catch_up: bool | None = None
    #: what becomes of a slot while an earlier slot's task has not ended
    overlap: Overlap = "allow"
    #: most seconds by which a slot's task is delayed, evenly spread
    jitter: float = 0.0
    #: argument that is given the slot's time, ISO 8601
    intended_date_kwarg: str | None = None

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        check_repeats(self.repeats)
        check_overlap(self.overlap)
        check_cron(self.cron)
        check_catch_up(self.catch_up)
        check_date_kwarg(self.intended_date_kwarg)
        if self.time_zone is not None:
            rules.zone(self.time_zone)
        check_jitter(self.jitter, self.rule())

    def rule(self) -> Rule:
        """Return the one rule that is given.

        Raises:
            ScheduleError: there is none, or more than one.

        """
        given = [key for key in ("every", "cron", "minutes") if getattr(self, key) is not None]
        kind = self.type or (given[0] if given else "once")
        if given not in ([], [kind]) or (kind == "cron" and not given) or (kind == "every" and not given):
            msg = (
                f"a schedule has one rule, not type={self.type!r} with {' and '.join(given) or 'no cron'};"
                " give every=, cron=, minutes= or type="
            )
            raise ScheduleError(msg)
        if self.every is not None:
            return rules.every(self.every)
        if kind == "minutes":
            return rules.every(1 if self.minutes is None else self.minutes, "minutes")
        if self.cron is None and kind not in rules.NAMES:
            msg = (
                f"type={kind!r} is not a type of schedule; there are cron, minutes, {', '.join(rules.NAMES)}"
            )
            raise ScheduleError(msg)
        found = rules.parse(kind if self.cron is None else self.cron)
        if self.cron is not None and not found.cron:
            msg = f"cron={self.cron!r} is not a cron expression; say type={self.cron!r}"
            raise ScheduleError(msg)
        return found

    def first(self, rule: Rule, where: ZoneInfo, now: float) -> float:
        """Return the first slot: `next_run`, otherwise now, or with cron the next time that fits."""
        if self.next_run is not None:
            return instant(self.next_run, where)
        found = rules.next_slot(rule, now, where, now) if rule.cron else now
        assert found is not None  # `parse` refuses a cron expression without any slot
        return found


def cron(expression: str, *, tz: str | None = None, **options: Unpack[WhenFields]) -> When:
    """Return a schedule for `App.task(schedule=...)` that fires at the times of a cron expression.

    Args:
        expression: five fields, or six with the seconds first.
        tz: time zone of the wall clock; the configuration's by default.
        **options: fields of `When`.

    Raises:
        ScheduleError: it is not a cron expression, or there is no such time zone.

    """
    return When(cron=expression, time_zone=tz, **options)


def every(
    interval: timedelta | float | None = None,
    *,
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    **options: Unpack[WhenFields],
) -> When:
    """Return a schedule for `App.task(schedule=...)` that fires at a fixed interval of whole seconds.

    A number means seconds. The interval counts from 1970-01-01 00:00 UTC unless `next_run` is given,
    so that all processes that declare it mean the same slots.

    Raises:
        ScheduleError: it is not a whole number of seconds, or less than one.

    """
    step = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
    if interval is None or not step:
        return When(every=step if interval is None else interval, **options)
    if not isinstance(interval, timedelta):
        msg = f"every({interval!r}) is given seconds twice; give it a number alone, or seconds= and the like"
        raise ScheduleError(msg)
    return When(every=interval + step, **options)


def given(when: datetime | float | None, where: ZoneInfo) -> str:
    """Return as text which first slot was given; a time of the schedule's wall clock is not an instant."""
    if when is None:
        return ""
    wall = _wall(when, where)
    return f"@{instant(when, where):.0f}" if wall is None else wall.isoformat(timespec="seconds")


def anchor(rule: Rule, when: datetime | float | None, where: ZoneInfo, first: float) -> float:
    """Return what a rule counts from: its first slot, unless clocks skip the time that was given."""
    wall = None if when is None else _wall(when, where)
    return first if wall is None else rules.anchor_for(rule, wall, where, first)


def _wall(when: datetime | float, where: ZoneInfo) -> datetime | None:
    """Return the time of the schedule's wall clock that is given, None if an instant is."""
    if not isinstance(when, datetime):
        return None
    own = when.tzinfo is None or getattr(when.tzinfo, "key", None) == where.key
    return when.replace(tzinfo=None, microsecond=0) if own else None


def instant(when: datetime | float, where: ZoneInfo) -> float:
    """Return whole epoch seconds.

    Raises:
        ScheduleError: it is not a valid time.

    """
    if isinstance(when, datetime):
        # Without a time zone of its own it is a time of the schedule's wall clock.
        wall = _wall(when, where)
        when = when.timestamp() if wall is None else wall_clock.instant(wall, where)
    elif not rules.is_number(when):
        msg = f"next_run={when!r}: give seconds since 1970 or a datetime"
        raise ScheduleError(msg)
    if not _BEGIN <= when < _END:
        msg = f"next_run={when!r} is not in the years 1 to 8999: give seconds since 1970 or a datetime"
        raise ScheduleError(msg)
    return float(int(when))


def check_name(name: object) -> None:
    """Refuse what cannot name a schedule."""
    if name is not None and (
        not isinstance(name, str) or not name or not name.isprintable() or len(name) > _NAME
    ):
        msg = f"{name!r} is not a name of a schedule: at most {_NAME} printable characters"
        raise ScheduleError(msg)


def check_repeats(repeats: object) -> None:
    """Refuse what is not a number of slots."""
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < -1:
        msg = f"repeats={repeats!r}: give a whole number of slots; -1 means no limit, 0 means paused"
        raise ScheduleError(msg)


def check_count(count: object) -> None:
    """Refuse what is not a number of slots to show."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        msg = f"count={count!r}: give a whole number of slots, 0 or more"
        raise ScheduleError(msg)


def check_overlap(overlap: str) -> None:
    """Refuse an unknown way to treat overlapping slots."""
    if overlap not in get_args(Overlap):
        msg = f"overlap={overlap!r}: give allow, skip (leave the slot out) or queue (one waits)"
        raise ScheduleError(msg)


def check_cron(expression: object) -> None:
    """Refuse what is not text."""
    if expression is not None and not isinstance(expression, str):
        msg = f"cron={expression!r}: give an expression such as '*/5 * * * *'"
        raise ScheduleError(msg)


def check_catch_up(catch_up: object) -> None:
    """Refuse what is not a boolean."""
    if not isinstance(catch_up, bool | None):
        msg = f"catch_up={catch_up!r}: give True, False, or None for what the configuration says"
        raise ScheduleError(msg)


def check_date_kwarg(name: object) -> None:
    """Refuse what cannot name an argument."""
    if name is not None and (not isinstance(name, str) or not name):
        msg = f"intended_date_kwarg={name!r}: give the name of an argument"
        raise ScheduleError(msg)


def check_jitter(jitter: float, rule: Rule) -> None:
    """Refuse a delay that would move a slot's task beyond the next slot."""
    if not rules.is_number(jitter):
        msg = f"jitter={jitter!r}: give a number of seconds"
        raise ScheduleError(msg)
    if not jitter:
        return
    step = rules.step(rule, rules.zone("UTC"), _SAMPLE)
    if not 0 < jitter <= step:
        msg = (
            f"jitter={jitter!r}: slots of {rule.text!r} are {counted(step, 'second')} apart; "
            "give a number of seconds from 0 to that"
        )
        raise ScheduleError(msg)

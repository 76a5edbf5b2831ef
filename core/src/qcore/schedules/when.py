"""When a call is to be made, as a program says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, get_args

import attrs

from qcore.errors import ScheduleError
from qcore.schedules import rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from qcore.schedules.rules import Rule

#: what is done with a slot while an earlier slot's task has not ended
Overlap = Literal["allow", "skip", "queue"]

#: Longest name of a schedule, characters.
_NAME: Final = 200
#: Any instant will do to look how far apart the slots of a rule are: 2026-01-01.
_SAMPLE: Final = 1_767_225_600.0
#: What a wall clock anywhere can show, epoch seconds: the year 1, and the year 9000 in which rules end.
_BEGIN: Final = datetime(1, 1, 2, tzinfo=UTC).timestamp()
_END: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


class Told(TypedDict, total=False):
    """What `cron` and `every` may be told beside their rule: the fields of `When`."""

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
    """Return the name of a zone, which an object of `zoneinfo` knows."""
    key = getattr(where, "key", None)
    return key if isinstance(where, tzinfo) and isinstance(key, str) else where  # type: ignore[return-value]  # refused by `zone`


@attrs.frozen(kw_only=True)
class When:
    """When a call is to be made: one rule, and what goes with it."""

    #: of the schedule; the task's own by default
    name: str | None = None
    #: a real cadence, whole seconds: a time, or their number
    every: timedelta | float | None = None
    #: an expression of five fields, or six with seconds in front
    cron: str | None = None
    #: once (the default), minutes, hourly, daily ... yearly or cron
    type: str | None = None
    #: a real cadence
    minutes: int | None = None
    #: for the function, of a schedule declared in code
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    #: how many slots; -1 = no limit, 0 = paused
    repeats: int = -1
    #: the first slot
    next_run: datetime | float | None = None
    #: whose wall clock the rule follows; the configuration's by default
    time_zone: str | None = attrs.field(default=None, converter=_zone_name)
    #: whether each missed slot is made up for; the configuration's by default
    catch_up: bool | None = None
    #: what is done with a slot while an earlier slot's task has not ended
    overlap: Overlap = "allow"
    #: seconds at most by which a slot's task is delayed, evenly spread
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
        """Return the one rule it names.

        Raises:
            ScheduleError: there is none, or more than one.

        """
        told = [key for key in ("every", "cron", "minutes") if getattr(self, key) is not None]
        kind = self.type or (told[0] if told else "once")
        if told not in ([], [kind]) or (kind == "cron" and not told) or (kind == "every" and not told):
            msg = (
                f"a schedule has one rule, not type={self.type!r} with {' and '.join(told) or 'no cron'};"
                " give every=, cron=, minutes= or type="
            )
            raise ScheduleError(msg)
        if self.every is not None:
            return rules.every(self.every)
        if kind == "minutes":
            return rules.every(1 if self.minutes is None else self.minutes, "minutes")
        if self.cron is None and kind not in rules.NAMES:
            msg = f"type={kind!r} is no type of schedule; there are cron, minutes, {', '.join(rules.NAMES)}"
            raise ScheduleError(msg)
        found = rules.parse(kind if self.cron is None else self.cron)
        if self.cron is not None and not found.cron:
            msg = f"cron={self.cron!r} is no cron expression; say type={self.cron!r}"
            raise ScheduleError(msg)
        return found

    def first(self, rule: Rule, where: ZoneInfo, now: float) -> float:
        """Return the first slot: what is said, else now, or with cron the next time that fits."""
        if self.next_run is not None:
            return instant(self.next_run, where)
        found = rules.next_slot(rule, now, where, now) if rule.cron else now
        assert found is not None  # a cron expression without any slot is refused by `parse`
        return found


def cron(expression: str, *, tz: str | None = None, **options: Unpack[Told]) -> When:
    """Return when a task is to be run, for `App.task(schedule=...)`: at the times of a cron expression.

    Args:
        expression: five fields, or six with seconds in front.
        tz: whose wall clock; the configuration's by default.
        **options: fields of `When`.

    Raises:
        ScheduleError: it is no cron expression, or there is no such zone.

    """
    return When(cron=expression, time_zone=tz, **options)


def every(
    interval: timedelta | float | None = None,
    *,
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    **options: Unpack[Told],
) -> When:
    """Return when a task is to be run, for `App.task(schedule=...)`: at a real cadence, whole seconds.

    A number is one of seconds. It is counted from 1970-01-01 00:00 UTC unless `next_run` says
    otherwise, so that whoever declares it means the same slots.

    Raises:
        ScheduleError: it is no whole number of seconds, or less than one.

    """
    step = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
    if interval is None or not step:
        return When(every=step if interval is None else interval, **options)
    if not isinstance(interval, timedelta):
        msg = f"every({interval!r}) is told seconds twice; give it a number alone, or seconds= and its kin"
        raise ScheduleError(msg)
    return When(every=interval + step, **options)


def instant(when: datetime | float, where: ZoneInfo) -> float:
    """Return whole epoch seconds.

    Raises:
        ScheduleError: it is no time.

    """
    if isinstance(when, datetime):
        # Without a zone of its own it is what the schedule's wall clock shows.
        when = (when if when.tzinfo else when.replace(tzinfo=where)).timestamp()
    elif not rules.is_number(when):
        msg = f"next_run={when!r}: give seconds since 1970 or a datetime"
        raise ScheduleError(msg)
    if not _BEGIN <= when < _END:
        msg = f"next_run={when!r} is in no year from 1 to 8999: give seconds since 1970 or a datetime"
        raise ScheduleError(msg)
    return float(int(when))


def check_name(name: object) -> None:
    """Refuse what cannot name a schedule."""
    if name is not None and (
        not isinstance(name, str) or not name or not name.isprintable() or len(name) > _NAME
    ):
        msg = f"{name!r} is no name of a schedule: at most {_NAME} printable characters"
        raise ScheduleError(msg)


def check_repeats(repeats: object) -> None:
    """Refuse what is no number of slots."""
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < -1:
        msg = f"repeats={repeats!r}: give a whole number of slots; -1 is no limit, 0 is paused"
        raise ScheduleError(msg)


def check_count(count: object) -> None:
    """Refuse what is no number of slots to show."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        msg = f"count={count!r}: give a whole number of slots, 0 or more"
        raise ScheduleError(msg)


def check_overlap(overlap: str) -> None:
    """Refuse what is no way to deal with overlapping slots."""
    if overlap not in get_args(Overlap):
        msg = f"overlap={overlap!r}: give allow, skip (leave the slot out) or queue (one waits)"
        raise ScheduleError(msg)


def check_cron(expression: object) -> None:
    """Refuse what is no text."""
    if expression is not None and not isinstance(expression, str):
        msg = f"cron={expression!r}: give an expression such as '*/5 * * * *'"
        raise ScheduleError(msg)


def check_catch_up(catch_up: object) -> None:
    """Refuse what is neither yes nor no."""
    if not isinstance(catch_up, bool | None):
        msg = f"catch_up={catch_up!r}: give True, False, or None for what the configuration says"
        raise ScheduleError(msg)


def check_date_kwarg(name: object) -> None:
    """Refuse what cannot name an argument."""
    if name is not None and (not isinstance(name, str) or not name):
        msg = f"intended_date_kwarg={name!r}: give the name of an argument"
        raise ScheduleError(msg)


def check_jitter(jitter: float, rule: Rule) -> None:
    """Refuse a delay that would carry a slot's task behind the next slot."""
    if not rules.is_number(jitter):
        msg = f"jitter={jitter!r}: give a number of seconds"
        raise ScheduleError(msg)
    if not jitter:
        return
    step = rules.step(rule, rules.zone("UTC"), _SAMPLE)
    if not 0 < jitter <= step:
        msg = (
            f"jitter={jitter!r}: slots of {rule.text!r} are {step:g} seconds apart; "
            "give a number of seconds from 0 to that"
        )
        raise ScheduleError(msg)

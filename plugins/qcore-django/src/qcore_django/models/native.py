"""Translates schedules of qcore into those of Django-Q, and back."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import DecodeError, EnvelopeError, QueueMissing, ScheduleError
from qcore.messages.head import read_head
from qcore.tasks.call import with_options
from qcore.tasks.task import bind
from qcore_calendar import rules
from qcore_calendar.when import When, anchor
from qcore_django.cron import cron_for_django_q, cron_of
from qcore_django.literals import write_args, write_kwargs
from qcore_django.models import places
from qcore_django.models.fields import moment
from qcore_django.queue_names import queue_name
from qcore_django.shared import app
from qcore_django.tasks.options import SCHEDULE_TYPES, options_of
from qcore_schedules.build import check_broker, draft
from qcore_schedules.messages import read_arguments, read_body, slot_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from qcore_calendar.rules import Rule
    from qcore_calendar.schedule import Schedule

#: letters for types of schedules; `S`, a number of seconds, is ours
TYPES: Final = {**SCHEDULE_TYPES, "S": "every"}
_LETTERS: Final = {name: letter for letter, name in TYPES.items()}
#: how the name of a callback begins that is given what Django-Q gave it
_CALLED: Final = "qcore_django.hooks.called."
#: doublings of the time in which the slot before another is looked for
_STEPS: Final = 30
#: seconds before a slot in which the one before is looked for, if no slot follows
_DAY: Final = 86400.0


def fields_of(one: Schedule) -> dict[str, Any]:
    """Return the values of the fields of Django-Q's model."""
    found: dict[str, Any] = {
        "id": one.name, "name": one.name, "func": one.task, "repeats": one.repeats,
        "next_run": moment(one.next_run) if one.rule else None, "cluster": one.cluster or None,
        "fault": one.fault, "hook": None, "group": None, "intended_date_kwarg": None,
        **_rule_of(one.rule), "args": None, "kwargs": None,
    }  # fmt: skip
    try:
        body = read_body(one)
        head = read_head(body.head)
        found |= {
            "hook": None if head.hook is None else head.hook.removeprefix(_CALLED),
            "group": head.group,
            "intended_date_kwarg": body.date_kwarg,
        }
        serializer = app.runtime.serializers.get(body.serializer)
        if serializer is not None and (serializer.unsafe is False or not body.arguments):
            args, kwargs = read_arguments(body, serializer)
            found |= {"args": write_args(tuple(args)), "kwargs": write_kwargs(kwargs)}
        elif body.arguments:
            found |= {"args": "(not shown here)", "kwargs": "(not shown here)"}
    except (EnvelopeError, DecodeError) as exc:
        found["fault"] = one.fault or str(exc)
    return found


def _rule_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"schedule_type": "O", "minutes": None, "seconds": None, "cron": None}
    try:
        rule = rules.parse(text)
    except ScheduleError:
        return found
    if rule.cron:
        return {**found, "schedule_type": "C", "cron": cron_for_django_q(text)}
    if text in _LETTERS:
        return {**found, "schedule_type": _LETTERS[text]}
    if rule.seconds % 60:
        return {**found, "schedule_type": "S", "seconds": rule.seconds}
    return {**found, "schedule_type": "I", "minutes": rule.seconds // 60}


def rule_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule that fields mean, as `When` takes it.

    Raises:
        ScheduleError: it is not a type of schedule.

    """
    letter = given["schedule_type"]
    kind = TYPES.get(letter, letter)
    if kind == "every":
        try:
            return {"every": timedelta(seconds=given["seconds"] or 1)}
        except OverflowError as exc:
            raise ScheduleError(f"seconds={given['seconds']} is beyond the calendar; give less") from exc
    if kind == "cron":
        # what Django-Q takes for a cron expression without one is an error
        return {"cron": cron_of(given["cron"] or "")}
    return {"type": kind, **({"minutes": given["minutes"] or 1} if kind == "minutes" else {})}


def when_of(given: Mapping[str, Any]) -> When:
    """Return when a new schedule fires; with cron that begins at the next time that fits.

    Raises:
        ScheduleError: it is not valid.

    """
    rule = rule_changes(given)
    return When(
        name=given["name"],
        repeats=max(-1, given["repeats"]),
        next_run=None if "cron" in rule else given["next_run"],
        intended_date_kwarg=given["intended_date_kwarg"] or None,
        **rule,
    )


def made_of(given: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]) -> Schedule:  # noqa: ANN401 - of a task
    """Return a new schedule that nobody has stored yet; the results of its tasks have its name as group.

    Raises:
        EncodeError: an argument cannot be serialised.
        QcoreError: it is not valid.

    """
    kwargs = dict(kwargs)
    options = options_of(
        {"group": given["name"], **(kwargs.pop("q_options", None) or {}), **_hook(given["hook"])}
    )
    if given["cluster"]:
        options = with_options(options, {"cluster": queue_name(given["cluster"])})
    call = bind(given["func"], tuple(args), kwargs, options)
    made = draft(app.runtime, call, when_of(given))
    check_broker(app.runtime, made)
    return made


def slots_of(given: Mapping[str, Any], count: int) -> list[datetime]:
    """Return the first slots of a rule that is in no schedule yet.

    Raises:
        ScheduleError: it is not valid.

    """
    when = when_of({**given, "repeats": -1 if given["repeats"] is None else given["repeats"]})
    rule, where = when.rule(), rules.zone(app.config.time_zone)
    first = when.first(rule, where, float(int(app.runtime.clock.now())))
    return following(
        rule, first, where, anchor(rule, when.next_run, where, first), repeats=when.repeats, count=count
    )


def following(
    rule: Rule, first: float, where: ZoneInfo, start: float, *, repeats: int, count: int
) -> list[datetime]:
    """Return a slot and those after it, no more than there are left."""
    count = min(count, repeats) if repeats > 0 else count
    slots = itertools.chain([first], rules.slots(rule, first, where, start))
    return [moment(slot) for slot in itertools.islice(slots, count)]


def _hook(hook: object) -> dict[str, object]:
    return {"hook": hook} if hook else {}


def existing() -> list[Schedule]:
    """Return the schedules of the site's queue; none if nothing was enqueued on it.

    Raises:
        QueueMissing: the tables of the key `orm` are not there.

    """
    try:
        return list(app.schedules.list())
    except QueueMissing:
        if places.queue_alias() is not None:
            raise
        return []


# -- the task that was enqueued last --------------------------------------------------------------


def last_task_id(one: Schedule) -> str | None:
    """Return the id of the task of the slot before the next one, None if there is no such slot.

    The id follows from the schedule and the slot. Whether the slot was fired, and the task has
    ended, is not known here.
    """
    slot = last_slot(one)
    return None if slot is None else slot_id(one, slot).hex()


def last_slot(one: Schedule) -> float | None:
    """Return the slot before the next one, epoch seconds; None if there was none."""
    if not one.rule or one.fault:
        return None
    if one.repeats == one.kept == 0:
        # It has ended, and its next slot was the last.
        return one.next_run
    rule, where = rules.parse(one.rule), rules.zone(one.time_zone)
    if rule.text == "once":
        return None
    if rule.seconds:
        found: float | None = one.next_run - rule.seconds
    else:
        following = rules.next_slot(rule, one.next_run, where, one.anchor)
        span = _DAY if following is None else following - one.next_run
        found = _before(one, span)
    return found if found is not None and found >= one.anchor else None


def _before(one: Schedule, span: float) -> float | None:
    rule, where = rules.parse(one.rule), rules.zone(one.time_zone)
    for _ in range(_STEPS):
        start, found = one.next_run - span - 1, None
        for slot in rules.slots(rule, start, where, one.anchor):
            if slot >= one.next_run:
                break
            found = slot
        if found is not None or start < one.anchor:
            return found
        span *= 2
    return None

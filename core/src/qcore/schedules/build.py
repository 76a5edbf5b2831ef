"""A call and its times, made into the schedule that is kept."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.errors import ScheduleError
from qcore.messages.envelope import encode_head, read_head
from qcore.model import Schedule
from qcore.schedules import messages, rules
from qcore.schedules.slots import fresh
from qcore.schedules.when import When, check_jitter, check_name
from qcore.tasks.call import DEFAULT, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.messages.envelope import Head
    from qcore.runtime import Runtime
    from qcore.schedules.messages import Body
    from qcore.tasks.call import Call, Options

#: what a change may be told beside the fields of `When`
_BESIDE: Final = frozenset({"func", "cluster", "hook", "q_options"})
#: what `hook` and `q_options` say in a head; the rest is its task's own
_TOLD: Final = ("hook", "label", "group", "timeout", "save", "ack_failure", "result_ttl")
#: what makes a rule
_RULE: Final = frozenset({"every", "cron", "type", "minutes"})


def draft(runtime: Runtime, call: Call, when: When) -> Schedule:
    """Return a new schedule.

    Raises:
        EncodeError: an argument cannot be serialised.
        NotSupported: tasks of another queue could not be told from ours.
        ScheduleError: it is none that can be kept.

    """
    name = when.name or call.name
    check_name(name)
    _check_options(call.options, call.options.concurrency, when.overlap)
    rule, zone_name = when.rule(), when.time_zone or runtime.config.time_zone
    first = when.first(rule, rules.zone(zone_name), float(int(time.time())))
    options = with_options(call.options, {"label": call.options.label or name})
    call = type(call)(call.name, call.args, call.kwargs, options, options.head(call.name))
    there = messages.destination(runtime, options.cluster or "")
    cluster = "" if there is runtime else there.config.name
    body = messages.body_of(runtime, call, when.intended_date_kwarg, cluster)
    return Schedule(
        name=name,
        task=call.name,
        body=messages.seal(runtime, name, body),
        rule=rule.text,
        time_zone=zone_name,
        next_run=first,
        anchor=first,
        repeats=when.repeats,
        kept=-1 if when.repeats == 0 else 0,
        catch_up=when.catch_up,
        overlap=when.overlap,
        jitter=float(when.jitter),
        cluster=cluster,
    )


def check_changes(changes: Mapping[str, Any]) -> None:
    """Refuse words that change nothing of a schedule."""
    known = {field.name for field in attrs.fields(When)} - {"name"} | _BESIDE
    wrong = sorted(set(changes) - known)
    if wrong:
        msg = f"no part of a schedule {', '.join(map(repr, wrong))}; there are {', '.join(sorted(known))}"
        raise TypeError(msg)


def edited(
    runtime: Runtime, before: Schedule, changes: Mapping[str, Any], options: Options, call: Call | None
) -> Schedule:
    """Return a schedule with some of its parts changed; the others stay, and so does its next slot if it can.

    Args:
        runtime: of its queue.
        before: the schedule.
        changes: parts of it by name, see `check_changes`.
        options: for its task; what is unset stays.
        call: what it is to call, if that changes.

    """
    when = _when(before, changes)
    rule, zone_name = when.rule(), when.time_zone or runtime.config.time_zone
    check_jitter(when.jitter, rule)
    body = _edited_body(runtime, before, changes, options, call)
    head = read_head(body.head)
    _check_options(options if call is None else call.options, head.concurrency, when.overlap)
    changed = attrs.evolve(
        before,
        task=head.name,
        body=messages.seal(runtime, before.name, body),
        rule=rule.text,
        time_zone=zone_name,
        catch_up=when.catch_up,
        overlap=when.overlap,
        jitter=float(when.jitter),
        cluster=body.cluster,
        fault="",
    )
    if "repeats" in changes:
        changed = _counted(before, changed, when.repeats)
    if "next_run" in changes or (rule.text, zone_name) != (before.rule, before.time_zone):
        first = _first(before, when, zone_name)
        return attrs.evolve(changed, next_run=first, anchor=first)
    if _done(before) and changed.repeats:
        return _revived(before, changed)
    # What it missed while it was broken is not made up for.
    return fresh(changed, time.time()) if before.fault else changed


def _done(one: Schedule) -> bool:
    """Whether it has no slots left: its next slot is one that was fired."""
    return one.repeats == one.kept == 0


def _revived(before: Schedule, changed: Schedule) -> Schedule:
    """Return a schedule that was done and has slots again: they come behind the last one it fired."""
    one = fresh(changed, max(before.next_run, time.time()))
    if one.next_run == before.next_run:
        msg = f"schedule {one.name!r} has fired the last slot of its rule {one.rule!r}; give next_run="
        raise ScheduleError(msg)
    return one


def _counted(before: Schedule, changed: Schedule, repeats: int) -> Schedule:
    """Return a schedule with another number of slots; what is paused stays so."""
    if repeats == 0:
        return attrs.evolve(changed, repeats=0, kept=before.repeats or before.kept)
    if before.repeats == 0 and before.kept:
        return attrs.evolve(changed, kept=repeats)
    return attrs.evolve(changed, repeats=repeats)


def _when(before: Schedule, changes: Mapping[str, Any]) -> When:
    told = {key: value for key, value in changes.items() if key not in _BESIDE}
    if not _RULE & told.keys():
        rule = rules.parse(before.rule)
        if rule.text.startswith("every"):
            told["every"] = timedelta(seconds=rule.seconds)
        else:
            told["cron" if rule.cron else "type"] = rule.text
    stays = {
        "time_zone": before.time_zone,
        "catch_up": before.catch_up,
        "overlap": before.overlap,
        "jitter": before.jitter,
    }
    return When(**(stays | told))


def _first(before: Schedule, when: When, zone_name: str) -> float:
    """Return the first slot by a new rule: what is said, what fits, or the one that was planned."""
    where, now = rules.zone(zone_name), float(int(time.time()))
    if when.next_run is None and not when.rule().cron:
        return max(before.next_run + 1 if _done(before) else before.next_run, now)
    return when.first(when.rule(), where, now)


def _edited_body(
    runtime: Runtime, before: Schedule, changes: Mapping[str, Any], options: Options, call: Call | None
) -> Body:
    body = messages.open_body(runtime, before)
    head = read_head(body.head)
    if call is not None:
        head = _another(head, read_head(call.head))
        body = msgspec.structs.replace(body, delay=call.options.delay, expires=call.options.expires)
    if options != DEFAULT:
        said = msgspec.structs.asdict(read_head(options.head(head.name)))
        head = msgspec.structs.replace(
            head, **{key: value for key, value in said.items() if value is not None}
        )
    if "hook" in changes and changes["hook"] is None:
        head = msgspec.structs.replace(head, hook=None)
    if changes.keys() & {"args", "kwargs"}:
        body = _edited_arguments(runtime, before.name, body, changes)
    if "intended_date_kwarg" in changes:
        body = msgspec.structs.replace(body, date_kwarg=changes["intended_date_kwarg"])
    if "cluster" in changes:
        there = messages.destination(runtime, changes["cluster"] or "")
        body = msgspec.structs.replace(body, cluster="" if there is runtime else there.config.name)
    return msgspec.structs.replace(body, head=encode_head(head))


def _another(head: Head, other: Head) -> Head:
    """Return the head of another task that is told what the schedule tells the one it takes the place of."""
    stays = {key: getattr(head, key) for key in _TOLD if getattr(other, key) is None}
    return msgspec.structs.replace(other, **stays)


def _edited_arguments(runtime: Runtime, name: str, body: Body, changes: Mapping[str, Any]) -> Body:
    args, kwargs = changes.get("args"), changes.get("kwargs")
    if args is None or kwargs is None:
        used = runtime.serializers.get(body.serializer)
        if body.arguments and (used is None or used.unsafe):
            msg = f"the arguments of schedule {name!r} are not read here; give both args= and kwargs="
            raise ScheduleError(msg)
        was = messages.read_arguments(body, used) if used is not None else ((), {})
        args = was[0] if args is None else args
        kwargs = was[1] if kwargs is None else kwargs
    arguments, named = messages.pack(runtime.serializer, args, dict(kwargs))
    code = runtime.serializer.code
    return msgspec.structs.replace(body, arguments=arguments, named=named, serializer=code)


def _check_options(options: Options, concurrency: int | None, overlap: str) -> None:
    if options.unique:
        msg = "a schedule's slots are each enqueued once, unique= says nothing of them; say overlap='skip'"
        raise ScheduleError(msg)
    if overlap == "queue" and concurrency is not None:
        msg = "overlap='queue' lets one task run at a time, which the task's own concurrency= would undo"
        raise ScheduleError(msg)

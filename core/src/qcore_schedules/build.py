"""How a call and its times become a stored schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.destination import destination
from qcore.errors import NotSupported, ScheduleError
from qcore.messages.head import encode_head, read_head, route_of
from qcore.tasks.arguments import dump_arguments
from qcore.tasks.call import DEFAULT, Call, with_options
from qcore.tasks.producer import check_routes
from qcore_calendar import rules
from qcore_calendar.schedule import Schedule
from qcore_calendar.slots import skip_missed
from qcore_calendar.when import When, anchor, check_jitter, check_name, given
from qcore_schedules import messages
from qcore_text.wording import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.messages.head import Head
    from qcore.runtime import Runtime
    from qcore.tasks.call import Options
    from qcore_schedules.messages import Body

#: options of its tasks that are parts of a schedule, too
OF_ITS_TASKS: Final = ("hook", "queue", "priority")
#: what a change takes beside the fields of `When`
_OTHER_CHANGES: Final = frozenset({"func", "cluster", "q_options", *OF_ITS_TASKS})
#: what `hook` and `q_options` set in a head; the other fields belong to its task
_SCHEDULE_FIELDS: Final = (*OF_ITS_TASKS, "label", "group", "timeout", "save", "ack_failure", "result_ttl")
#: what gives a rule
_RULE: Final = frozenset({"every", "cron", "type", "minutes"})


def draft(runtime: Runtime, call: Call, when: When) -> Schedule:
    """Return a new schedule.

    Raises:
        EncodeError: an argument cannot be serialised.
        NotSupported: the cluster of its tasks could not be distinguished from this one.
        ScheduleError: it is not valid.

    """
    name = when.name or call.name
    check_name(name)
    _check_options(call.options, call.options.concurrency, when.overlap)
    rule, zone_name = when.rule(), when.time_zone or runtime.config.time_zone
    where = rules.zone(zone_name)
    first = when.first(rule, where, float(int(runtime.clock.now())))
    options = with_options(call.options, {"label": call.options.label or name})
    call = type(call)(call.name, call.args, call.kwargs, options, options.head(call.name))
    there = destination(runtime, options.cluster or "")
    body = messages.body_of(runtime, call, when.intended_date_kwarg)
    return Schedule(
        name=name,
        task=call.name,
        body=messages.encode(runtime, body),
        rule=rule.text,
        time_zone=zone_name,
        next_run=first,
        anchor=anchor(rule, when.next_run, where, first),
        first=given(when.next_run, where),
        repeats=when.repeats,
        kept=-1 if when.repeats == 0 else 0,
        catch_up=when.catch_up,
        overlap=when.overlap,
        jitter=float(when.jitter),
        cluster="" if there is runtime else there.config.name,
    )


def check_broker(runtime: Runtime, made: Schedule) -> None:
    """Refuse a schedule that asks for what the broker of its tasks cannot do.

    Raises:
        NotSupported: it cannot.

    """
    there = destination(runtime, made.cluster)
    queue, priority = route_of(messages.read_body(made).head)
    if queue or priority:
        check_routes(there, queue, priority)
    if made.jitter:
        with there.brokers.connection(create=True) as broker:
            if not broker.capabilities.delay:
                msg = (
                    f"jitter={made.jitter!r} needs a broker that can delay a message, "
                    f"which {there.config.broker!r} cannot"
                )
                raise NotSupported(msg)


def check_changes(changes: Mapping[str, Any]) -> None:
    """Refuse names that are not parts of a schedule."""
    known = {field.name for field in attrs.fields(When)} - {"name"} | _OTHER_CHANGES
    wrong = sorted(set(changes) - known)
    if wrong:
        msg = f"not a part of a schedule: {', '.join(map(repr, wrong))}; there are {', '.join(sorted(known))}"
        raise TypeError(msg)


def edited(
    runtime: Runtime, before: Schedule, changes: Mapping[str, Any], options: Options, call: Call | None
) -> Schedule:
    """Return a schedule with some of its parts changed; its next slot stays if possible.

    Args:
        runtime: of its queue.
        before: the schedule.
        changes: its changed parts by name, see `check_changes`.
        options: for its task; unset ones stay as they are.
        call: what it calls, if that changes.

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
        body=messages.encode(runtime, body),
        rule=rule.text,
        time_zone=zone_name,
        catch_up=when.catch_up,
        overlap=when.overlap,
        jitter=float(when.jitter),
        cluster=_cluster(runtime, before, changes),
        fault="",
    )
    if "repeats" in changes:
        changed = _counted(before, changed, when.repeats)
    if "next_run" in changes or (rule.text, zone_name) != (before.rule, before.time_zone):
        first, where = _first(before, when, zone_name, runtime.clock.now()), rules.zone(zone_name)
        start = anchor(rule, when.next_run, where, first)
        if when.next_run is None and first == before.next_run and rules.parse(before.rule).months:
            start = rules.moved_anchor(rule, first, where, before.anchor)
        return attrs.evolve(changed, next_run=first, anchor=start)
    if _has_ended(before) and changed.repeats:
        return _revived(before, changed, runtime.clock.now())
    # Slots missed while it was disabled are not caught up.
    return skip_missed(changed, runtime.clock.now()) if before.fault else changed


def replacement(before: Schedule, made: Schedule, now: float) -> Schedule:
    """Return a schedule that replaces another; with the same first slot it goes on where that one is.

    A program that declares its schedules at each start neither fires a slot twice, nor resets their
    counts, nor resumes what was paused by hand, nor begins again what has ended. Slots missed while
    the old one was disabled are not caught up. Another first slot begins a new schedule.
    """
    ended = _has_ended(before)
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


def resumed(one: Schedule, now: float) -> Schedule:
    """Return a schedule that was paused or disabled with its next slot from now.

    Raises:
        ScheduleError: it has no slots left.

    """
    if _has_ended(one):
        msg = (
            f"schedule {one.name!r} has ended: it has no slots left; "
            f"give it more by {typed('schedule update')} --repeats"
        )
        raise ScheduleError(msg)
    if one.repeats and not one.fault:
        return one
    return skip_missed(attrs.evolve(one, repeats=one.repeats or one.kept, kept=0, fault=""), now)


def _has_ended(one: Schedule) -> bool:
    """Return whether it has no slots left: its next slot was fired already."""
    return one.repeats == one.kept == 0


def _revived(before: Schedule, changed: Schedule, now: float) -> Schedule:
    """Return a schedule that had ended and has slots again, after the last one that was fired."""
    one = skip_missed(changed, max(before.next_run, now))
    if one.next_run == before.next_run:
        msg = f"schedule {one.name!r} has fired the last slot of its rule {one.rule!r}; give next_run="
        raise ScheduleError(msg)
    return one


def _counted(before: Schedule, changed: Schedule, repeats: int) -> Schedule:
    """Return a schedule with another number of slots; a paused one stays paused."""
    if repeats == 0:
        return attrs.evolve(changed, repeats=0, kept=before.repeats or before.kept)
    if before.repeats == 0 and before.kept:
        return attrs.evolve(changed, kept=repeats)
    return attrs.evolve(changed, repeats=repeats)


def _when(before: Schedule, changes: Mapping[str, Any]) -> When:
    said = {key: value for key, value in changes.items() if key not in _OTHER_CHANGES}
    if not _RULE & said.keys():
        rule = rules.parse(before.rule)
        if rule.text.startswith("every"):
            said["every"] = timedelta(seconds=rule.seconds)
        else:
            said["cron" if rule.cron else "type"] = rule.text
    stays = {
        "time_zone": before.time_zone,
        "catch_up": before.catch_up,
        "overlap": before.overlap,
        "jitter": before.jitter,
    }
    return When(**(stays | said))


def _first(before: Schedule, when: When, zone_name: str, now: float) -> float:
    """Return the first slot of a new rule: `next_run`, the next that fits, or the one that was planned."""
    where, now = rules.zone(zone_name), float(int(now))
    if when.next_run is None and not when.rule().cron:
        return max(before.next_run + 1 if _has_ended(before) else before.next_run, now)
    return when.first(when.rule(), where, now)


def _edited_body(
    runtime: Runtime, before: Schedule, changes: Mapping[str, Any], options: Options, call: Call | None
) -> Body:
    body = messages.read_body(before)
    head = read_head(body.head)
    if call is not None:
        head = _another(head, read_head(call.head))
        body = msgspec.structs.replace(body, delay=call.options.delay, expires=call.options.expires)
    # None in a head is an option that is unset, or one that was named and has the default.
    said, named = (
        msgspec.structs.asdict(read_head(options.head(head.name))),
        changes.keys() & set(OF_ITS_TASKS),
    )
    given = {key: value for key, value in said.items() if value is not None or key in named}
    head = msgspec.structs.replace(head, **given)
    if changes.keys() & {"args", "kwargs"}:
        body = _edited_arguments(runtime, before.name, body, changes)
    if "intended_date_kwarg" in changes:
        body = msgspec.structs.replace(body, date_kwarg=changes["intended_date_kwarg"])
    return msgspec.structs.replace(body, head=encode_head(head))


def _cluster(runtime: Runtime, before: Schedule, changes: Mapping[str, Any]) -> str:
    """Return the name of the clusters that run its tasks; empty = the schedule's own."""
    if "cluster" not in changes:
        return before.cluster
    there = destination(runtime, changes["cluster"] or "")
    return "" if there is runtime else there.config.name


def _another(head: Head, other: Head) -> Head:
    """Return the head of another task with the options that the schedule sets."""
    stays = {key: getattr(head, key) for key in _SCHEDULE_FIELDS if getattr(other, key) is None}
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
    call = Call(read_head(body.head).name, tuple(args), kwargs, DEFAULT, body.head)
    arguments, code = dump_arguments(call, runtime.serializer), runtime.serializer.code
    return msgspec.structs.replace(body, arguments=arguments, named=bool(kwargs), serializer=code)


def _check_options(options: Options, concurrency: int | None, overlap: str) -> None:
    if options.unique:
        msg = "each slot of a schedule is enqueued once, so unique= has no meaning for it; use overlap='skip'"
        raise ScheduleError(msg)
    if options.connection is not None:
        msg = "a schedule's tasks are enqueued by a cluster, in no transaction of yours; drop connection="
        raise ScheduleError(msg)
    if overlap == "queue" and concurrency is not None:
        msg = "overlap='queue' lets one task run at a time, which conflicts with the task's own concurrency="
        raise ScheduleError(msg)

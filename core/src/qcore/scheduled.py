"""What a schedule holds sealed, and the messages its slots become."""

from __future__ import annotations

import hashlib
import struct
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore import cadence
from qcore.envelope import encode_head, read_head
from qcore.errors import DecodeError, ScheduleError, SkipTask, Undecodable
from qcore.hookspecs import EnqueueEvent
from qcore.model import Outgoing, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.call import Call
    from qcore.envelope import Head
    from qcore.interfaces import Serializer
    from qcore.model import Schedule
    from qcore.runtime import Runtime

_SLOT: Final = struct.Struct(">d")


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The sealed part of a schedule; new fields go to the end and have a default."""

    #: encoded `Head`
    head: bytes
    #: serialised; empty for a call without any
    arguments: bytes
    #: code of the serializer
    serializer: int
    #: the arguments are positional ones and named ones
    named: bool
    #: the argument that is given the slot's time
    date_kwarg: str | None = None
    #: seconds behind the slot
    delay: float = 0.0
    #: seconds after which it is not started any more; 0 = never
    expires: float = 0.0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def seal(runtime: Runtime, name: str, call: Call, date_kwarg: str | None) -> bytes:
    """Return a call as the schedule of this name keeps it.

    Raises:
        EncodeError: an argument cannot be serialised.
        ScheduleError: the time of the slot could not be put among the arguments.

    """
    serializer = runtime.serializer
    if date_kwarg is not None and serializer.unsafe:
        msg = (
            f"intended_date_kwarg={date_kwarg!r} needs a serializer that a supervisor may read with;"
            f" {runtime.config.serializer!r} can run code"
        )
        raise ScheduleError(msg)
    args, kwargs = list(call.args), dict(call.kwargs)
    arguments = serializer.dumps([args, kwargs] if kwargs else args) if args or kwargs else b""
    options = call.options
    body = Body(
        call.head, arguments, serializer.code, bool(kwargs), date_kwarg, options.delay, options.expires
    )
    return runtime.schedule_sealer.seal(name.encode(), _encode(body))


def open_body(runtime: Runtime, schedule: Schedule) -> Body:
    """Return what a schedule holds sealed.

    Raises:
        BadSignature: it was altered, or belongs to another schedule or queue.
        UnknownKey: signed with none of our keys.
        Undecodable: not of a version we know.

    """
    data = runtime.schedule_sealer.open(schedule.name.encode(), schedule.body)
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError) as exc:
        msg = f"schedule {schedule.name!r} is not of a known version: {exc}"
        raise Undecodable(msg) from exc


def slot_id(schedule: Schedule, slot: float) -> bytes:
    """Return the id of a slot's task: whoever fires it makes the same."""
    when = _SLOT.pack(slot)
    noise = hashlib.sha256(schedule.name.encode() + b"\0" + when + schedule.body).digest()
    # Ordered by time, as all ids are.
    return max(0, int(slot * 1000)).to_bytes(6, "big") + noise[:10]


def message(runtime: Runtime, schedule: Schedule, slot: float, id: bytes) -> Outgoing | None:
    """Return the message of a slot, None if a hook leaves it out.

    Raises:
        EnvelopeError: what is sealed cannot be trusted or read.
        DecodeError: the arguments cannot be read.

    """
    body = open_body(runtime, schedule)
    head, serializer = read_head(body.head), runtime.serializers.get(body.serializer)
    if serializer is None:
        msg = f"its arguments are written by serializer {body.serializer}, which `accept` does not list"
        raise DecodeError(msg)
    args, kwargs = _arguments(body, serializer)
    arguments, named = body.arguments, body.named
    if body.date_kwarg is not None:
        intended = datetime.fromtimestamp(slot, cadence.zone(schedule.time_zone)).isoformat()
        kwargs = {**kwargs, body.date_kwarg: intended}
        arguments, named = serializer.dumps([list(args), kwargs]), True
    now = time.time_ns() // 1_000_000
    hooks = runtime.hooks("qcore_pre_enqueue")
    encoded = body.head
    if hooks:
        event = EnqueueEvent(task=_task(id, head, args, kwargs, now), headers={})
        try:
            for hook in hooks:
                hook(event)
        except SkipTask:
            return None
        if event.headers:
            encoded = encode_head(msgspec.structs.replace(head, headers=event.headers))
    expires = now + int(body.expires * 1000) if body.expires else 0
    sealed = runtime.envelope.seal(id, encoded, arguments, body.serializer, now, named=named, expires=expires)
    return Outgoing(id, sealed, body.delay)


def due(schedule: Schedule, now: float, *, catch_up: bool, limit: int) -> tuple[list[float], Schedule | None]:
    """Return the slots to fire now, oldest first, and what the schedule is then; None = removed.

    Args:
        schedule: one whose slot has come.
        now: epoch seconds.
        catch_up: what to do where the schedule itself does not say.
        limit: most slots at once.

    Raises:
        ScheduleError: its rule or its zone is none.

    """
    rule, where = cadence.parse(schedule.rule), cadence.zone(schedule.time_zone)
    first, anchor = schedule.next_run, schedule.anchor
    if catch_up if schedule.catch_up is None else schedule.catch_up:
        slots = cadence.missed_slots(rule, first, now, where, anchor)
        following = cadence.next_slot(rule, slots[-1], where, anchor)
    else:
        slots = [first]
        following = cadence.next_slot(rule, max(first, now), where, anchor)
    most = min(limit, schedule.repeats) if schedule.repeats > 0 else limit
    if len(slots) > most:
        slots, following = slots[:most], slots[most]
    return slots, _later(schedule, len(slots), following)


def _later(schedule: Schedule, fired: int, following: float | None) -> Schedule | None:
    if schedule.rule == "once" and schedule.repeats < 0:
        return None
    left = max(0, schedule.repeats - fired) if schedule.repeats > 0 else -1
    if following is None or left == 0:
        return attrs.evolve(schedule, repeats=0, kept=0)
    return attrs.evolve(schedule, next_run=following, repeats=left)


def _arguments(body: Body, serializer: Serializer) -> tuple[Sequence[Any], dict[str, Any]]:
    """Read the arguments, unless that could run code: then only a worker reads them."""
    if not body.arguments or serializer.unsafe:
        return (), {}
    found = serializer.loads(body.arguments)
    try:
        args, kwargs = found if body.named else (found, {})
        return tuple(args), dict(kwargs)
    except (TypeError, ValueError) as exc:
        msg = "the arguments are no list of positional and map of named ones"
        raise DecodeError(msg) from exc


def _task(id: bytes, head: Head, args: Sequence[Any], kwargs: dict[str, Any], now: int) -> Task:
    return Task(
        id=id.hex(),
        name=head.name,
        args=tuple(args),
        kwargs=kwargs,
        group=head.group,
        timeout=head.timeout or None,
        enqueued=now / 1000,
    )

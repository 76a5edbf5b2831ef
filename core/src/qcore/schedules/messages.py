"""What a schedule holds sealed, and the messages its slots become."""

from __future__ import annotations

import hashlib
import struct
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import BadSignature, DecodeError, MalformedMessage, NotSupported, ScheduleError, SkipTask
from qcore.hookspecs import EnqueueEvent
from qcore.messages.envelope import encode_head, read_head
from qcore.messages.workflow import WorkflowHeader, encode_tail
from qcore.model import Outgoing, TaskInfo
from qcore.schedules import rules
from qcore.settings import options
from qcore.settings.rules import Wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Serializer
    from qcore.messages.envelope import Head
    from qcore.model import Schedule
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call

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
    #: queue its tasks are put on; empty = the schedule's own
    cluster: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def body_of(runtime: Runtime, call: Call, date_kwarg: str | None, cluster: str) -> Body:
    """Return a call as a schedule keeps it, not sealed yet.

    Raises:
        EncodeError: an argument cannot be serialised.

    """
    arguments, named = pack(runtime.serializer, call.args, dict(call.kwargs))
    told, code = call.options, runtime.serializer.code
    return Body(call.head, arguments, code, named, date_kwarg, told.delay, told.expires, cluster)


def pack(serializer: Serializer, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[bytes, bool]:
    """Return arguments as bytes, and whether there are named ones."""
    if kwargs:
        return serializer.dumps([list(args), kwargs]), True
    return serializer.dumps(list(args)) if args else b"", False


def seal(runtime: Runtime, name: str, body: Body) -> bytes:
    """Return a body as the schedule of this name keeps it.

    Raises:
        ScheduleError: the time of the slot could not be put among the arguments.

    """
    used = runtime.serializers.get(body.serializer)
    if body.date_kwarg is not None and used is not None and used.unsafe:
        msg = (
            f"intended_date_kwarg={body.date_kwarg!r} needs a serializer that a supervisor may read with;"
            f" {runtime.config.serializer!r} can run code"
        )
        raise ScheduleError(msg)
    return runtime.schedule_sealer.seal(name.encode(), _encode(body))


def open_body(runtime: Runtime, schedule: Schedule) -> Body:
    """Return what a schedule holds sealed.

    Raises:
        BadSignature: it was altered, or belongs to another schedule or queue.
        UnknownKey: signed with none of our keys.
        MalformedMessage: not of a version we know.

    """
    data = runtime.schedule_sealer.open(schedule.name.encode(), schedule.body)
    try:
        body = _decode(data)
    except (msgspec.MsgspecError, ValueError) as exc:
        msg = f"schedule {schedule.name!r} is not of a known version: {exc}"
        raise MalformedMessage(msg) from exc
    if body.cluster != schedule.cluster:
        # Else whoever can write to the store could have it signed for a queue it was not made for.
        msg = f"it is kept for the queue {schedule.cluster!r}, and was made for {body.cluster!r}"
        raise BadSignature(msg)
    return body


def slot_id(schedule: Schedule, slot: float) -> bytes:
    """Return the id of a slot's task: whoever fires it makes the same."""
    when = _SLOT.pack(slot)
    noise = hashlib.sha256(schedule.name.encode() + b"\0" + when + schedule.body).digest()
    # Ordered by time, as all ids are.
    return max(0, int(slot * 1000)).to_bytes(6, "big") + noise[:10]


def lateness(schedule: Schedule, id: bytes) -> float:
    """Return the seconds by which a slot's task is delayed; whoever fires it finds the same."""
    if not schedule.jitter:
        return 0.0
    noise = hashlib.sha256(b"jitter\0" + id).digest()
    return int.from_bytes(noise[:6], "big") / 2**48 * schedule.jitter


def permit_key_of(runtime: Runtime, schedule: Schedule) -> str:
    """Return the key of the places that tasks of a schedule share which are not to overlap."""
    # On another queue there may be one of the same name.
    home = f"@{runtime.config.name}" if schedule.cluster else ""
    return f"schedule:{schedule.name}{home}"


def destination(runtime: Runtime, cluster: str) -> Runtime:
    """Return the runtime of the queue a schedule's tasks are put on.

    Raises:
        NotSupported: it could not be told from ours.
        ScheduleError: there is no queue of such a name.

    """
    if not cluster or cluster == runtime.config.name:
        return runtime
    try:
        options.every()["name"].read(cluster)
    except Wrong as exc:
        msg = f"cluster={cluster!r}: the name of a queue {exc}"
        raise ScheduleError(msg) from exc
    config = runtime.config
    file = config.queue_file(cluster)
    if file is not None and file == config.queue_file(config.name):
        msg = (
            f"cluster={cluster!r}: a file holds one queue, and the settings of {config.broker!r} name one "
            f"file ({file}); leave the path out, so that each queue has a file of its own, or use a server"
        )
        raise NotSupported(msg)
    return runtime.of(cluster)


def message(runtime: Runtime, schedule: Schedule, slot: float, id: bytes) -> Outgoing | None:
    """Return the message of a run by hand, None if a hook leaves it out.

    Raises:
        EnvelopeError: what is sealed cannot be trusted or read.
        DecodeError: the arguments cannot be read.

    """
    return _sealed(runtime, schedule, slot, id, slotted=False)


def slot_message(runtime: Runtime, schedule: Schedule, slot: float) -> Outgoing | None:
    """Return the message of a slot, None if a hook leaves it out; raises what `message` does."""
    return _sealed(runtime, schedule, slot, slot_id(schedule, slot), slotted=True)


def _sealed(
    runtime: Runtime, schedule: Schedule, slot: float, id: bytes, *, slotted: bool
) -> Outgoing | None:
    body = open_body(runtime, schedule)
    there, serializer = destination(runtime, body.cluster), runtime.serializers.get(body.serializer)
    if serializer is None:
        number = body.serializer
        msg = f"its arguments are written by serializer {number}, which `accept_serializers` does not list"
        raise DecodeError(msg)
    args, kwargs = read_arguments(body, serializer)
    arguments, named = body.arguments, body.named
    if body.date_kwarg is not None:
        intended = datetime.fromtimestamp(slot, rules.zone(schedule.time_zone)).isoformat()
        kwargs = {**kwargs, body.date_kwarg: intended}
        arguments, named = pack(serializer, args, kwargs)
    now = time.time_ns() // 1_000_000
    head = _head(runtime, schedule, body)
    hooks = runtime.hooks("qcore_pre_enqueue")
    if hooks:
        event = EnqueueEvent(task=_task(id, head, args, kwargs, now), headers={})
        try:
            for hook in hooks:
                hook(event)
        except SkipTask:
            return None
        if event.headers:
            head = msgspec.structs.replace(head, headers=event.headers)
    sealed = there.envelope.seal(
        id,
        encode_head(head),
        arguments,
        body.serializer,
        now,
        named=named,
        expires=now + int(body.expires * 1000) if body.expires else 0,
        derived=slotted,
        tail=_tail(runtime, schedule) if slotted else b"",
    )
    return Outgoing(id, sealed, body.delay + (lateness(schedule, id) if slotted else 0.0))


def _head(runtime: Runtime, schedule: Schedule, body: Body) -> Head:
    head = msgspec.structs.replace(read_head(body.head), schedule=schedule.name)
    if schedule.overlap == "queue":
        # One of the two that have a place waits until the other has ended.
        key = permit_key_of(runtime, schedule)
        head = msgspec.structs.replace(head, concurrency=1, limit_key=key)
    return head


def _tail(runtime: Runtime, schedule: Schedule) -> bytes:
    if schedule.overlap == "allow" and not schedule.cluster:
        return b""
    places = [] if schedule.overlap == "allow" else [permit_key_of(runtime, schedule)]
    return encode_tail(WorkflowHeader(places=places, home=runtime.config.name if schedule.cluster else ""))


def read_arguments(body: Body, serializer: Serializer) -> tuple[Sequence[Any], dict[str, Any]]:
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


def _task(id: bytes, head: Head, args: Sequence[Any], kwargs: dict[str, Any], now: int) -> TaskInfo:
    return TaskInfo(
        id=id.hex(),
        name=head.name,
        args=tuple(args),
        kwargs=kwargs,
        group=head.group,
        timeout=head.timeout or None,
        enqueued=now / 1000,
    )

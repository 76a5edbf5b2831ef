"""The call that a schedule makes, and the messages of its slots."""

from __future__ import annotations

import hashlib
import struct
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.destination import destination
from qcore.errors import DecodeError, MalformedMessage, ScheduleError, SkipTask
from qcore.hookspecs import EnqueueEvent
from qcore.messages.head import encode_head, read_head
from qcore.messages.workflow import WorkflowHeader, encode_tail
from qcore.model import Outgoing, TaskInfo
from qcore.tasks.arguments import dump_arguments, write_arguments
from qcore_calendar import rules
from qcore_queues.names import DEFAULT_QUEUE
from qcore_values.foreign import as_written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Serializer
    from qcore.messages.head import Head
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call
    from qcore_calendar.schedule import Schedule

_SLOT: Final = struct.Struct(">d")


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a schedule calls; new fields go to the end and have a default."""

    #: encoded `Head`
    head: bytes
    #: serialised; empty for a call without arguments
    arguments: bytes
    #: code of the serializer
    serializer: int
    #: there are named arguments beside the positional ones
    named: bool
    #: the named argument that is given the time of the slot
    date_kwarg: str | None = None
    #: seconds after the slot
    delay: float = 0.0
    #: seconds after which it expires; 0 = never
    expires: float = 0.0
    #: the schedule's own cluster: that of its tasks may have a schedule like this one
    home: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def body_of(runtime: Runtime, call: Call, date_kwarg: str | None) -> Body:
    """Return the body of a schedule that makes this call.

    Raises:
        EncodeError: an argument cannot be serialised.

    """
    arguments, named = dump_arguments(call, runtime.serializer), bool(call.kwargs)
    options, code = call.options, runtime.serializer.code
    home = runtime.config.name
    return Body(call.head, arguments, code, named, date_kwarg, options.delay, options.expires, home)


def encode(runtime: Runtime, body: Body) -> bytes:
    """Return a body as a schedule has it.

    Raises:
        ScheduleError: the time of the slot could not be added to the arguments.

    """
    used = runtime.serializers.get(body.serializer)
    if body.date_kwarg is not None and used is not None and used.unsafe:
        msg = (
            f"intended_date_kwarg={body.date_kwarg!r} needs a serializer that a supervisor may read with;"
            f" {runtime.config.serializer!r} can run code"
        )
        raise ScheduleError(msg)
    return _encode(body)


def read_body(schedule: Schedule) -> Body:
    """Decode the body of a schedule.

    Raises:
        MalformedMessage: its version is unknown.

    """
    try:
        return _decode(schedule.body)
    except (msgspec.MsgspecError, ValueError) as exc:
        msg = f"schedule {schedule.name!r} is not of a known version: {exc}"
        raise MalformedMessage(msg) from exc


def slot_id(schedule: Schedule, slot: float) -> bytes:
    """Return the id of a slot's task; it is the same whoever fires the slot."""
    when = _SLOT.pack(slot)
    noise = hashlib.sha256(schedule.name.encode() + b"\0" + when + schedule.body).digest()
    # Ids are ordered by time.
    return max(0, int(slot * 1000)).to_bytes(6, "big") + noise[:10]


def lateness(schedule: Schedule, id: bytes) -> float:
    """Return the seconds by which a slot's task is delayed; they are the same whoever fires it."""
    if not schedule.jitter:
        return 0.0
    noise = hashlib.sha256(b"jitter\0" + id).digest()
    return int.from_bytes(noise[:6], "big") / 2**48 * schedule.jitter


def permit_key(name: str, home: str = "") -> str:
    """Return what names the permits of a schedule's tasks.

    Args:
        name: of the schedule.
        home: its own cluster, if its tasks are for another: there may be one of the same name.

    """
    return f"schedule:{name}@{home}" if home else f"schedule:{name}"


def read_arguments(body: Body, serializer: Serializer) -> tuple[Sequence[Any], dict[str, Any]]:
    """Decode the arguments, unless that could run code: then only a worker decodes them.

    What other packages have written stays as it is: no database is asked for it here.
    """
    if not body.arguments or serializer.unsafe:
        return (), {}
    with as_written():
        found = serializer.loads(body.arguments)
    try:
        args, kwargs = found if body.named else (found, {})
        return tuple(args), dict(kwargs)
    except (TypeError, ValueError) as exc:
        msg = "the arguments are not a list of positional and a map of named ones"
        raise DecodeError(msg) from exc


class OpenedSchedule:
    """A schedule whose call was decoded, once for all slots that are fired."""

    def __init__(self, runtime: Runtime, schedule: Schedule) -> None:
        """Open a schedule.

        Raises:
            EnvelopeError: the body cannot be read.
            DecodeError: the arguments cannot be read.
            NotSupported: the cluster of its tasks could not be distinguished from this one.
            ScheduleError: the cluster of its tasks has no valid name.

        """
        self._home = runtime
        self._schedule = schedule
        self.body = read_body(schedule)
        #: of the clusters that run its tasks
        self.runtime = destination(runtime, schedule.cluster)
        #: names the permits of tasks that must not overlap
        self.permit_key = permit_key(schedule.name, runtime.config.name if schedule.cluster else "")
        serializer = runtime.serializers.get(self.body.serializer)
        if serializer is None:
            number = self.body.serializer
            msg = (
                f"its arguments are written by serializer {number}, which `accept_serializers` does not list"
            )
            raise DecodeError(msg)
        self._serializer = serializer
        self._args, self._kwargs = read_arguments(self.body, serializer)
        self.head = self._read_head()

    def message(self, slot: float, id: bytes) -> Outgoing | None:
        """Return the message of a run by hand, None if a hook skips it."""
        return self._seal(slot, id, slotted=False)

    def slot_message(self, slot: float) -> Outgoing | None:
        """Return the message of a slot, None if a hook skips it."""
        return self._seal(slot, slot_id(self._schedule, slot), slotted=True)

    def _seal(self, slot: float, id: bytes, *, slotted: bool) -> Outgoing | None:
        schedule, body, kwargs = self._schedule, self.body, self._kwargs
        arguments, named = body.arguments, body.named
        if body.date_kwarg is not None:
            intended = datetime.fromtimestamp(slot, rules.zone(schedule.time_zone)).isoformat()
            kwargs = {**kwargs, body.date_kwarg: intended}
            arguments, named = write_arguments(self._args, kwargs, self._serializer), True
        now = time.time_ns() // 1_000_000
        head = self.head
        hooks = self._home.pre_enqueue
        if hooks:
            task = _task(id, head, self._args, kwargs, now)
            cluster = self.runtime.config.name
            event = EnqueueEvent(task=task, headers={}, cluster=cluster, schedule=schedule)
            try:
                for hook in hooks:
                    hook(event)
            except SkipTask:
                return None
            if event.headers:
                head = msgspec.structs.replace(head, headers=event.headers)
        sealed = self.runtime.envelope.seal(
            id,
            encode_head(head),
            arguments,
            body.serializer,
            now,
            named=named,
            expires=self.runtime.clock.now_ms() + int(body.expires * 1000) if body.expires else 0,
            derived=slotted,
            tail=self._workflow() if slotted else b"",
        )
        delay = body.delay + (lateness(schedule, id) if slotted else 0.0)
        return Outgoing(id, sealed, delay, head.queue or "", head.priority or 0)

    def _read_head(self) -> Head:
        head = msgspec.structs.replace(read_head(self.body.head), schedule=self._schedule.name)
        if self._schedule.overlap == "queue":
            # Of the two tasks that hold a permit, one waits until the other has ended.
            head = msgspec.structs.replace(head, concurrency=1, limit_key=self.permit_key)
        return head

    def _workflow(self) -> bytes:
        schedule = self._schedule
        if schedule.overlap == "allow" and not schedule.cluster:
            return b""
        permits = [] if schedule.overlap == "allow" else [self.permit_key]
        home = self._home.config.name if schedule.cluster else ""
        return encode_tail(WorkflowHeader(permits=permits, home=home))


def _task(id: bytes, head: Head, args: Sequence[Any], kwargs: dict[str, Any], now: int) -> TaskInfo:
    return TaskInfo(
        id=id.hex(),
        name=head.name,
        args=tuple(args),
        kwargs=kwargs,
        group=head.group,
        timeout=head.timeout or None,
        enqueued=now / 1000,
        schedule=head.schedule,
        queue=head.queue or DEFAULT_QUEUE,
        priority=head.priority or 0,
    )

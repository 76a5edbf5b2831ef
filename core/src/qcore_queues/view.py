"""Reads what is shown of queues and of waiting tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from qcore.errors import DecodeError, EnvelopeError, NotSupported
from qcore.interfaces import QueueState
from qcore.model import ID_AT, QueueSize
from qcore_queues.names import check_queue, known_as, named
from qcore_queues.pausing import paused_by_flag
from qcore_values.foreign import as_written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import Broker, Waiting


class Reads(Protocol):
    """What is needed of a runtime to read messages."""

    @property
    def envelope(self) -> Any:  # noqa: ANN401 - of the engine
        """Opens messages."""

    @property
    def control_sealer(self) -> Any:  # noqa: ANN401 - of the engine
        """Opens control flags."""

    @property
    def coordination_stores(self) -> Any:  # noqa: ANN401 - of the engine
        """Connections to the store of control flags."""

    @property
    def serializers(self) -> Mapping[int, Any]:
        """Those that arguments are read with."""


@attrs.frozen(kw_only=True)
class QueueInfo:
    """One queue of a name."""

    name: str
    #: how many messages are in which state
    ready: int
    leased: int | None
    delayed: int | None
    paused: bool
    #: seconds since its oldest ready message was enqueued; None = there is none, or it cannot be read
    oldest: float | None


@attrs.frozen(kw_only=True)
class WaitingTask:
    """A task that no worker holds."""

    #: 32 hexadecimal digits, as `Job.id`; unverified if there is a fault
    id: str
    #: dotted name of the function; empty if there is a fault
    name: str
    queue: str
    priority: int
    #: seconds since it was enqueued; None if there is a fault
    age: float | None
    #: seconds until it may begin; 0.0 = at once
    delay: float
    #: why it cannot be read; empty if it can
    fault: str = ""
    #: None = they were not asked for, or cannot be read
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None


def queue_infos(runtime: Reads, broker: Broker) -> list[QueueInfo]:
    """Return the queues of a name; of a broker that has one, that one."""
    return [_info(runtime, one) for one in queue_states(runtime, broker)]


def queue_states(runtime: Reads, broker: Broker) -> list[QueueState]:
    """Return the same as the broker has it, with those that clusters leave out."""
    if not broker.capabilities.queues:
        return [QueueState("", broker.size(), oldest=broker.peek())]
    found = {one.name: one for one in broker.queues()}
    for name in paused_by_flag(runtime, broker):
        one = found.get(name) or QueueState(name, _empty(found[""].size))
        found[name] = msgspec.structs.replace(one, paused=True)
    return [found[name] for name in sorted(found)]


def waiting_tasks(
    runtime: Reads,
    broker: Broker,
    read_head: Callable[[bytes], Any],
    *,
    limit: int,
    queue: str | None = None,
    arguments: bool = False,
) -> list[WaitingTask]:
    """Return waiting tasks, those that begin first in front.

    Args:
        runtime: opens messages.
        broker: has them.
        read_head: reads the head of an opened message.
        limit: how many at most.
        queue: of this one alone; None = of all.
        arguments: whether they are decoded.

    Raises:
        NotSupported: the broker cannot look.

    """
    found = broker.waiting(limit, None if queue is None else broker_name(broker, queue))
    if found is None:
        msg = f"{type(broker).__name__} cannot look at waiting tasks; it can count them"
        raise NotSupported(msg)
    return [_task(runtime, one, read_head, arguments=arguments) for one in found]


def broker_name(broker: Broker, queue: str) -> str:
    """Return the name under which a broker knows a queue.

    Raises:
        NotSupported: the broker has one queue.
        ValueError: a queue cannot have this name.

    """
    check_queue("queue", queue)
    if not broker.capabilities.queues:
        msg = f"queue={queue!r}: {type(broker).__name__} has one queue for each name; leave it out"
        raise NotSupported(msg)
    return known_as(queue)


def _empty(other: QueueSize) -> QueueSize:
    """Return the size of an empty queue, with what the broker counts of another one."""
    return QueueSize(0, *(None if count is None else 0 for count in (other.leased, other.delayed)))


def _info(runtime: Reads, one: QueueState) -> QueueInfo:
    return QueueInfo(
        name=named(one.name),
        ready=one.size.ready,
        leased=one.size.leased,
        delayed=one.size.delayed,
        paused=one.paused,
        oldest=_age(runtime, one.oldest),
    )


def _age(runtime: Reads, body: bytes | None) -> float | None:
    if body is None:
        return None
    try:
        opened = runtime.envelope.open(body)
    except EnvelopeError:
        return None
    created: int = opened.created
    return max(0.0, time.time() - created / 1000)


def _task(runtime: Reads, one: Waiting, read_head: Callable[[bytes], Any], *, arguments: bool) -> WaitingTask:
    common: dict[str, Any] = {"queue": named(one.queue), "priority": one.priority, "delay": one.delay}
    try:
        opened = runtime.envelope.open(one.body)
        head = read_head(opened.head)
    except EnvelopeError as exc:
        return WaitingTask(
            **common, id=bytes(one.body[ID_AT]).hex(), name="", age=None, fault=f"unreadable: {exc}"
        )
    common |= {"id": opened.id.hex(), "name": head.name, "age": max(0.0, time.time() - opened.created / 1000)}
    # a broker that tells few priorities apart knows which of them it is, and not its number
    common["priority"] = head.priority or 0
    if not arguments:
        return WaitingTask(**common)
    try:
        args, kwargs = opened_arguments(runtime, opened)
    except DecodeError as exc:
        return WaitingTask(**common, fault=str(exc))
    return WaitingTask(**common, args=args, kwargs=kwargs)


def opened_arguments(runtime: Reads, opened: Any) -> tuple[list[Any], dict[str, Any]]:  # noqa: ANN401 - as above
    """Decode the arguments of a message whose signature was verified.

    Raises:
        DecodeError: its serializer is not accepted here, or reading it could run code.

    """
    if not opened.arguments:
        return [], {}
    serializer = runtime.serializers.get(opened.serializer)
    if serializer is None:
        number = opened.serializer
        msg = f"the arguments were written by serializer {number}, which `accept_serializers` does not list"
        raise DecodeError(msg)
    if serializer.unsafe:
        msg = "the arguments are not shown: reading what this serializer wrote can run code"
        raise DecodeError(msg)
    with as_written():
        found = serializer.loads(opened.arguments)
    args, kwargs = found if opened.named else (found, {})
    return list(args), dict(kwargs)

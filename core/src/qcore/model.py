"""The records that pass between the parts."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping  # noqa: TC003 - read at run time, when a status is decoded
from typing import Any, Final

import attrs
import msgspec

from qcore.status import Progress  # noqa: TC001 - read at run time by attrs
from qcore_queues.names import destination

# Records made once a message are msgspec structs, an eighth of the cost of a frozen attrs class.
#: Where a body has its message's id, and the id of the key that signed it; unverified.
ID_AT: Final = slice(26, 42)
KEY_ID_AT: Final = slice(6, 10)


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message on its way to a broker."""

    #: 16 bytes; a broker that can keeps at most one message of one id in its queue
    id: bytes
    #: the signed envelope, opaque to the broker
    body: bytes
    #: seconds until it may be leased
    delay: float = 0.0
    #: its queue; empty = the default one
    queue: str = ""
    #: -100 to 100
    priority: int = 0


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message leased to one worker."""

    #: the signed envelope
    body: bytes
    #: names this lease of this message; a later lease of the same message has another
    receipt: bytes
    #: times this message was leased, this time included, released leases not counted
    deliveries: int = 1
    #: failed runs charged so far, as written by the last RETRY
    failures: int = 0
    #: runs that killed their worker so far, as written by the last RETRY
    crashes: int = 0
    #: for one whose last lease ran out: epoch seconds when it did; 0.0 = it did not, or unknown
    available: float = 0.0


class Action(enum.IntEnum):
    """What becomes of a leased message."""

    #: it is done with: remove it
    ACK = 1
    #: redeliver it after `delay`, with the counters given
    RETRY = 2
    #: redeliver it after `delay` as if it had never been leased
    RELEASE = 3
    #: keep it among the dead letters with `reason`
    DEAD_LETTER = 4


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The end of one lease."""

    receipt: bytes
    action: Action = Action.ACK
    #: seconds, for RETRY and RELEASE
    delay: float = 0.0
    #: for DEAD_LETTER
    reason: str = ""
    #: new absolute counters, for RETRY and DEAD_LETTER
    failures: int = 0
    crashes: int = 0
    #: for ACK: the id that `Broker.ended` finds later, 16 bytes; empty = it is not remembered
    id: bytes = b""


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter."""

    #: the broker's name for it, given to `requeue` and `delete`
    id: str
    body: bytes
    reason: str
    #: epoch seconds
    dead_since: float
    failures: int = 0
    crashes: int = 0


class QueueSize(msgspec.Struct, frozen=True):
    """How many messages are in which state; None where the broker cannot tell."""

    ready: int
    leased: int | None = None
    delayed: int | None = None
    dead_letters: int | None = None


class State(enum.IntEnum):
    """How far a task has come; a result is only ever replaced by one of the same or a higher rank."""

    #: the last run failed and another will follow
    RETRYING = 1
    #: terminal
    FAILED = 2
    #: terminal, and never replaced
    SUCCESS = 3

    @property
    def final(self) -> bool:
        """Whether no further run follows."""
        return self is not State.RETRYING


class StoredResult(msgspec.Struct, frozen=True, gc=False):
    """A result as a store keeps it: what it may index in the clear, and sealed bytes."""

    #: 16 bytes, the task's id
    id: bytes
    state: State
    #: the sealed result, opaque to the store
    body: bytes
    #: the task's name, at most 256 characters
    name: str
    group: str | None = None
    #: epoch seconds when the run ended
    finished: float = 0.0
    #: epoch seconds after which the store may forget it; 0.0 = never
    expires: float = 0.0
    #: free text of the producer's, at most 256 characters
    label: str | None = None


class Kind(enum.Enum):
    """How one run of a task ended."""

    SUCCESS = "success"
    #: it raised
    FAILURE = "failure"
    #: it ran, but its result could not be written
    RESULT_NOT_STORABLE = "unsavable"
    TIMEOUT = "timeout"
    #: its worker died
    CRASH = "crash"
    #: the user cancelled it
    CANCELLED = "cancelled"
    #: its worker was stopped: no verdict on the task, unless it may run only once
    INTERRUPTED = "interrupted"
    #: it asked to run later, uncounted
    POSTPONED = "postponed"
    #: a pre_execute hook raised SkipTask, or what it was to follow failed
    SKIPPED = "skipped"
    #: its time to live was over before it began
    EXPIRED = "expired"
    #: not a message this cluster may execute
    REJECTED = "rejected"
    #: signed with a key this cluster does not have (yet)
    UNKNOWN_KEY = "unknown key"
    #: it may run only once, and is run elsewhere
    ALREADY_BEGUN = "already begun"
    #: it came back although a final result is stored
    ALREADY_SUCCEEDED = "already succeeded"
    ALREADY_FAILED = "already failed"
    #: another copy of its message has ended
    REPLAYED = "replayed"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one run of a task ended and what it left."""

    kind: Kind
    #: the returned value, for SUCCESS
    value: Any = None
    #: `Type: text`, at most 4 KiB, for anything else
    error: str = ""
    traceback: str = ""
    #: whether the task's own retry policy asks for another run, and after how many seconds it did itself
    retryable: bool = True
    delay: float | None = None
    #: epoch seconds
    started: float = 0.0
    finished: float = 0.0

    @classmethod
    def unrun(cls, kind: Kind, error: str) -> Outcome:
        """Return the outcome of a task that did not run: it begins and ends now."""
        now = time.time()
        return cls(kind, error=error, started=now, finished=now)


@attrs.frozen(kw_only=True)
class TaskInfo:
    """One task on its way: what hooks and error reporters see."""

    #: 32 hexadecimal digits, ordered by time of enqueuing
    id: str
    #: dotted name of the function
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    group: str | None = None
    label: str | None = None
    #: seconds, None = no limit
    timeout: float | None = None
    #: what `pre_enqueue` hooks of other processes attached, text to text
    headers: Mapping[str, str] = attrs.field(factory=dict)
    #: epoch seconds
    enqueued: float = 0.0
    #: this run's number, from 1; 0 before the first
    attempt: int = 0
    #: name of the schedule that enqueued it
    schedule: str | None = None
    #: name of its queue, `default` if the task names none; empty if this is not about a task
    queue: str = ""
    #: -100 to 100, higher first
    priority: int = 0

    def destination(self, cluster: str) -> str:
        """Return where it is sent, in one word for tracers: `shop`, or `shop/mail` for a named queue."""
        return destination(cluster, self.queue)


@attrs.frozen(kw_only=True)
class Result:
    """What a task left behind."""

    id: str
    name: str
    state: State
    #: the returned value of a success, else None
    value: Any = None
    #: `Type: text` of a failure, else empty
    error: str = ""
    traceback: str = ""
    #: how the last run ended: a value of `Kind`
    kind: str = ""
    group: str | None = None
    #: free text given by the producer (`task_name` of Django-Q)
    label: str | None = None
    #: runs that ended by themselves or by timeout, this one included
    attempts: int = 1
    #: runs that killed their worker
    crashes: int = 0
    #: epoch seconds
    enqueued: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    #: `host:pid` of the worker that ran it
    worker: str = ""
    #: the last that the run reported by `qcore.progress`
    progress: Progress | None = None
    #: if they are stored: as serialised, code of the serializer, whether some are named
    arguments: tuple[bytes, int, bool] | None = None

    @property
    def success(self) -> bool:
        """Whether the task returned."""
        return self.state is State.SUCCESS

    @property
    def begun(self) -> bool:
        """Whether it was acknowledged and has begun, and nothing is known of its end."""
        return self.state is State.RETRYING and self.kind == Kind.INTERRUPTED.value

    @property
    def interrupted(self) -> bool:
        """Whether it may run only once, and its worker ended while it ran."""
        return self.state is State.FAILED and self.kind == Kind.INTERRUPTED.value

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.kind == Kind.CANCELLED.value

    @property
    def run_time(self) -> float:
        """Seconds the last run took."""
        return self.finished - self.started


class StoredSchedule(msgspec.Struct, frozen=True, gc=False):
    """A schedule as a store keeps it: what it is found by in the clear, and sealed bytes."""

    #: unique in the queue
    name: str
    #: the sealed schedule, opaque to the store
    body: bytes
    #: epoch seconds of the next slot
    next_run: float
    #: whether it has slots to fire: it is not paused, done or disabled
    active: bool = True

"""What cancelling a task does, and how far a task has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.begun import read_result
from qcore.errors import BackendError, EnvelopeError
from qcore.flows.commit import Committer
from qcore.flows.completion import Completion
from qcore.flows.continuation import ContinuationBuilder
from qcore.messages.envelope import route_of_body
from qcore.messages.head import read_head
from qcore.messages.sealer import STATUS
from qcore.messages.workflow import read_workflow
from qcore.model import ID_AT, Kind, Outcome, Outgoing, State
from qcore.status import ClusterStatus, Progress, TaskStatus
from qcore.tasks.task import id_of
from qcore_queues.flags import CANCEL_TTL, ControlFlags, cancel_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.runtime import Runtime

_decode = msgspec.json.Decoder(ClusterStatus).decode

#: Tasks cancelled in one step: if the producer is killed in it, those it has removed are lost.
_BULK: Final = 200
#: Seconds in the past within which the first bytes of an id are taken for a time; other ids are random.
_OLDEST: Final = 365 * 86_400.0
_FINAL: Final = {State.SUCCESS: "succeeded", State.FAILED: "failed"}
#: the states of tasks that ended in one of these ways
_KINDS: Final = {Kind.CANCELLED.value: "cancelled", Kind.INTERRUPTED.value: "interrupted"}


def cancel(runtime: Runtime, task_ids: Sequence[str]) -> list[bool]:
    """Cancel tasks; see `App.cancel`."""
    ids = [id_of(one) for one in task_ids]
    with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
        over = _ended(store, ids)
        left = [one for one in ids if one not in over]
        # The flags come first: a message that is released meanwhile is removed, or its worker sees the flag.
        _flag(runtime, left, CANCEL_TTL)
        taken = _remove(runtime, broker, store, left) if broker.capabilities.remove_messages else set()
        held = [one for one in left if one not in taken]
        over |= _ended(store, held)
        _flag(runtime, [one for one in left if one in taken or one in over], 0.0)
        over |= _unknown(broker, store, [one for one in held if one not in over])
    return [one not in over for one in ids]


def _unknown(broker: Broker, store: ResultStore, ids: Sequence[bytes]) -> set[bytes]:
    """Return the ids that neither a message nor a result bears, as far as the broker can tell."""
    present = broker.find_messages(ids) if ids else ()
    if present is None:
        return set()
    absent = [one for one in ids if one not in present]
    # Whoever ended or began one meanwhile has stored that.
    stored = {one.id for one in store.get(absent) if one is not None} if absent else set()
    return {one for one in absent if one not in stored}


def status(runtime: Runtime, task_id: str) -> TaskStatus:
    """Return how far a task has come; see `App.status`."""
    id_ = id_of(task_id)
    # It may have ended between the question for its result and that for its message.
    return (
        _known_status(runtime, id_)
        or _known_status(runtime, id_)
        or TaskStatus(id=id_.hex(), state="unknown")
    )


def _known_status(runtime: Runtime, id_: bytes) -> TaskStatus | None:
    """Return how far a task has come, None if neither a result nor a message was found."""
    task_id = id_.hex()
    with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
        stored = store.get([id_])[0]
        result = None if stored is None else read_result(runtime, stored)
        if result is not None and result.state.final:
            state = _KINDS.get(result.kind) or _FINAL[result.state]
            progress = _complete(result.progress) if result.success else result.progress
            return TaskStatus(
                id=task_id, state=state, since=result.finished, worker=result.worker, progress=progress
            )
        running = next(_running(runtime, broker.statuses(), task_id), None)
        if running is not None:
            return running
        if result is not None:
            state = "begun" if result.begun else "retrying"
            return TaskStatus(
                id=task_id,
                state=state,
                since=result.finished,
                worker=result.worker,
                progress=result.progress,
            )
        if _is_queued(broker, id_):
            return TaskStatus(id=task_id, state="queued", since=enqueued(id_))
        return None


def _complete(reported: Progress | None) -> Progress:
    """Return the progress of a task that has succeeded: a bar comes to its end."""
    last = reported or Progress(done=1.0)
    whole = last.total or last.done or 1.0
    return Progress(done=whole, total=whole, note=last.note)


def _is_queued(broker: Broker, id: bytes) -> bool:
    """Return whether a message is in the queue, or may be."""
    present = broker.find_messages([id])
    if present is not None:
        return bool(present)
    size = broker.size()
    return bool(size.ready or size.leased or size.delayed)


def _running(runtime: Runtime, bodies: Iterable[bytes], task_id: str) -> Iterator[TaskStatus]:
    for body in bodies:
        try:
            cluster = _decode(runtime.status_sealer.open(STATUS, body))
        except (EnvelopeError, msgspec.MsgspecError):
            # Of a cluster with another key, or of another version.
            continue
        for worker in cluster.workers:
            if worker.task_id == task_id:
                yield TaskStatus(
                    id=task_id,
                    state="running",
                    since=cluster.published - worker.running_for,
                    worker=f"{cluster.host}:{worker.pid}",
                    cluster=cluster.id,
                    progress=worker.progress,
                )


def _flag(runtime: Runtime, ids: Iterable[bytes], seconds: float) -> None:
    """Flag tasks as cancelled for so many seconds; 0 removes the flags."""
    flags = ControlFlags(runtime.control_sealer)
    keys = [cancel_key(one) for one in ids]
    with runtime.coordination_stores.connection() as store:
        for start in range(0, len(keys), _BULK):
            some = keys[start : start + _BULK]
            store.set_flags({key: flags.sign(key) if seconds else b"" for key in some}, seconds)


def _remove(runtime: Runtime, broker: Broker, store: ResultStore, ids: Sequence[bytes]) -> set[bytes]:
    """Remove tasks from the queue and end them; return which those were."""
    taken: set[bytes] = set()
    for start in range(0, len(ids), _BULK):
        bodies = broker.remove_messages(ids[start : start + _BULK])
        try:
            _end(runtime, broker, store, bodies)
        except (BackendError, EnvelopeError):
            # Those not known to have ended are enqueued again; their flag ends them.
            broker.enqueue([Outgoing(body[ID_AT], body, 0.0, *route_of_body(body)) for body in bodies])
            raise
        taken.update(body[ID_AT] for body in bodies)
    return taken


def _end(runtime: Runtime, broker: Broker, store: ResultStore, bodies: Sequence[bytes]) -> None:
    """Store that tasks were cancelled, and enqueue what follows from that."""
    continuation = ContinuationBuilder(runtime, broker.capabilities.max_bytes)
    opened = [runtime.envelope.open(body) for body in bodies]
    tried = store.get([one.id for one in opened])
    completions = []
    for one, stored in zip(opened, tried, strict=True):
        head, tail = read_head(one.head), read_workflow(one.tail) if one.tail else None
        before = None if stored is None else runtime.results.read(stored)
        record = runtime.results.seal(
            one.id,
            head,
            State.FAILED,
            Outcome(Kind.CANCELLED, error="TaskCancelled: the task was cancelled", finished=time.time()),
            b"",
            created=one.created,
            attempts=before.attempts if before else 0,
            crashes=before.crashes if before else 0,
        )
        completion = Completion(result=record)
        if head.hook is not None or tail is not None:
            completion.follow_up = continuation.after(head, tail, record, one.created)
        completions.append(completion)
    if completions:
        Committer(broker, store, continuation).commit(completions, 0)


def _ended(store: ResultStore, ids: Sequence[bytes]) -> set[bytes]:
    """Return which of these tasks have a final result."""
    found: set[bytes] = set()
    for start in range(0, len(ids), _BULK):
        stored = store.get(ids[start : start + _BULK])
        found.update(one.id for one in stored if one is not None and one.state.final)
    return found


def enqueued(id: bytes) -> float:
    """Return the epoch seconds an id begins with, 0.0 if it was made in another way."""
    found = int.from_bytes(id[:6], "big") / 1000
    now = time.time()
    return found if now - _OLDEST < found < now + 1 else 0.0

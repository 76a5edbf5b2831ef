"""The part of an App that calls off, asks after, and pauses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendError, EnvelopeError, NotSupported
from qcore.flows.commit import Committer
from qcore.flows.completion import Completion
from qcore.flows.continuation import ContinuationBuilder
from qcore.messages.control import CANCEL_TTL, PAUSE_TTL, PAUSED, ControlFlags, cancel_key
from qcore.messages.envelope import read_head
from qcore.messages.sealer import STATUS
from qcore.messages.workflow import read_workflow
from qcore.model import ID_AT, Kind, Outcome, Outgoing, State
from qcore.status import ClusterStatus, TaskStatus
from qcore.tasks.task import id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore
    from qcore.runtime import Runtime

_decode = msgspec.json.Decoder(ClusterStatus).decode

#: Tasks called off in one step: what a producer killed in it has taken out of the queue is lost.
_BULK: Final = 200
#: Seconds back from now that the time in an id may lie to be taken for one: other ids are random.
_OLDEST: Final = 365 * 86_400.0
_FINAL: Final = {State.SUCCESS: "succeeded", State.FAILED: "failed"}


class Steering:
    """What an App says of single tasks, and of the queue as a whole."""

    if TYPE_CHECKING:

        @property
        def runtime(self) -> Runtime:
            """The assembled configuration."""

    # -- one task -------------------------------------------------------------------------------

    def cancel(self, task_id: str) -> bool:
        """Call a task off; return False if it has ended already.

        - One that waits, for its turn, its delay or another attempt, is taken out of the queue,
          where the broker can do that, and has failed when this returns.
        - One that runs is told within two seconds: `TaskCancelled` is raised in it, and if it
          has not ended a second later its worker is killed. What else that worker held goes on
          as if nothing had happened. A task that returns all the same has succeeded.
        - One that a worker holds but has not begun, or that the broker cannot take back, is
          marked for a day: it is ended as soon as it has been running for a moment, 0.3 seconds.
          A shorter run comes to its end; no other follows it.

        The result has the state FAILED and the kind `cancelled`; there is no other attempt. An
        id that nobody knows is marked as well, for nobody can tell it from one that is held.

        Args:
            task_id: 32 hexadecimal digits.

        Raises:
            NotSupported: it does not wait, and the result store cannot keep the mark.
            ValueError: it is no task id.

        """
        return self.cancel_many([task_id])[0]

    def cancel_many(self, task_ids: Sequence[str]) -> list[bool]:
        """Call tasks off, in as few steps as the broker allows; return for each what `cancel` returns.

        Args:
            task_ids: 32 hexadecimal digits each.

        Raises:
            NotSupported: none of them waits, and the result store cannot keep the marks.
            ValueError: one is no task id.

        """
        ids = [id_of(one) for one in task_ids]
        with self.runtime.brokers.connection() as broker, self.runtime.stores.connection() as store:
            over = _ended(store, ids)
            left = [one for one in ids if one not in over]
            # The marks come first: of a message that is given back meanwhile, one of the two takes hold.
            self._mark(store, left, CANCEL_TTL)
            taken = self._withdraw(broker, store, left) if broker.capabilities.remove_messages else set()
            held = [one for one in left if one not in taken]
            over |= _ended(store, held)
            self._mark(store, [one for one in left if one in taken or one in over], 0.0)
            if store.notes is None and not taken and not over.issuperset(held):
                raise NotSupported(
                    f"task {held[0].hex()} does not wait in the queue, and a running one is called off by a "
                    "mark that this result store cannot keep; set result_store to one that can, such as "
                    "sqlite or redis"
                )
        return [one not in over for one in ids]

    def status(self, task_id: str) -> TaskStatus:
        """Return how far a task has come.

        `running` is known once a task has been running for about a second, from what its cluster
        publishes; a broker that keeps no status never tells. `queued` means that nothing is
        stored of the task, that nobody says he runs it, and that there are messages in the
        queue, among which it may be: to look for it would mean to read them all. `unknown` is a
        task of which there is no trace: the queue is empty and no result is stored, because there
        never was such a task, because its result was not to be kept or is outlived, or because it
        began a moment ago.

        Args:
            task_id: 32 hexadecimal digits.

        Raises:
            ValueError: it is no task id.

        """
        id_ = id_of(task_id)
        task_id = id_.hex()
        runtime = self.runtime
        with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
            stored = store.get([id_])[0]
            result = None if stored is None else runtime.results.read(stored)
            if result is not None and result.state is not State.RETRYING:
                cancelled = result.kind == Kind.CANCELLED.value
                state = "cancelled" if cancelled else _FINAL[result.state]
                return TaskStatus(id=task_id, state=state, since=result.finished, worker=result.worker)
            running = next(self._who_runs(broker.statuses(), task_id), None)
            if running is not None:
                return running
            if result is not None:
                return TaskStatus(id=task_id, state="retrying", since=result.finished, worker=result.worker)
            size = broker.size()
            if size.ready or size.leased or size.delayed:
                return TaskStatus(id=task_id, state="queued", since=_enqueued(id_))
            return TaskStatus(id=task_id, state="unknown")

    def _who_runs(self, bodies: Iterable[bytes], task_id: str) -> Iterator[TaskStatus]:
        for body in bodies:
            try:
                cluster = _decode(self.runtime.status_sealer.open(STATUS, body))
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

    def _mark(self, store: ResultStore, ids: Iterable[bytes], seconds: float) -> None:
        """Mark tasks as called off for so long, where the store can."""
        if store.notes is not None:
            marks = ControlFlags(self.runtime.control_sealer)
            for key in map(cancel_key, ids):
                store.notes.set_flag(key, marks.make(key) if seconds else b"", seconds)

    def _withdraw(self, broker: Broker, store: ResultStore, ids: Sequence[bytes]) -> set[bytes]:
        """End tasks that wait in the queue; return which those were."""
        taken: set[bytes] = set()
        for start in range(0, len(ids), _BULK):
            bodies = broker.remove_messages(ids[start : start + _BULK])
            try:
                self._end(broker, store, bodies)
            except (BackendError, EnvelopeError):
                # What is not known to have ended goes back: a worker ends it by its mark, or buries it.
                broker.enqueue([Outgoing(body[ID_AT], body) for body in bodies])
                raise
            taken.update(body[ID_AT] for body in bodies)
        return taken

    def _end(self, broker: Broker, store: ResultStore, bodies: Sequence[bytes]) -> None:
        """Store that tasks were called off, and set off what follows from that."""
        runtime = self.runtime
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

    # -- the queue ------------------------------------------------------------------------------

    def pause_queue(self) -> None:
        """Have all clusters of the queue take no new tasks, from within two seconds on.

        What workers hold by then they finish. The queue stays paused, over restarts too, until
        it is resumed; tasks are enqueued and schedules fire as before.

        Raises:
            NotSupported: the result store keeps no notes.

        """
        with self.runtime.stores.connection() as store:
            _notes(store).set_flag(PAUSED, ControlFlags(self.runtime.control_sealer).make(PAUSED), PAUSE_TTL)

    def resume_queue(self) -> None:
        """Have clusters take tasks again, from within two seconds on.

        Raises:
            NotSupported: the result store keeps no notes.

        """
        with self.runtime.stores.connection() as store:
            _notes(store).set_flag(PAUSED, b"", 0.0)

    def queue_paused(self) -> bool:
        """Return whether the queue is paused.

        Raises:
            NotSupported: the result store keeps no notes.

        """
        with self.runtime.stores.connection() as store:
            found = _notes(store).get_flags([PAUSED])[0]
        return ControlFlags(self.runtime.control_sealer).holds(PAUSED, found)


def _ended(store: ResultStore, ids: Sequence[bytes]) -> set[bytes]:
    """Return which of these tasks have a final result."""
    found: set[bytes] = set()
    for start in range(0, len(ids), _BULK):
        stored = store.get(ids[start : start + _BULK])
        found.update(one.id for one in stored if one is not None and one.state is not State.RETRYING)
    return found


def _enqueued(id: bytes) -> float:
    """Return the epoch seconds an id begins with, 0.0 if it was made in another way."""
    found = int.from_bytes(id[:6], "big") / 1000
    now = time.time()
    return found if now - _OLDEST < found < now + 1 else 0.0


def _notes(store: ResultStore) -> CoordinationStore:
    if store.notes is None:
        raise NotSupported(
            "a queue is paused by a mark that this result store cannot keep; set result_store to one that "
            "can, such as sqlite or redis"
        )
    return store.notes

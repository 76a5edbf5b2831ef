"""The state of a queue, its results and its clusters."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.begun import BEGUN, read_result
from qcore.errors import EnvelopeError, NotSupported, QueueMissing
from qcore.messages.sealer import STATUS
from qcore.model import QueueSize, State
from qcore.status import ClusterStatus, WorkerStatus
from qcore_queues.view import queue_infos
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qcore.app import App
    from qcore.interfaces import ResultStore
    from qcore.runtime import Runtime
    from qcore_queues.view import QueueInfo

#: Newest failures that are looked at for interrupted tasks.
EXAMINED: Final = 100

_decode = msgspec.json.Decoder(ClusterStatus).decode


@attrs.frozen(kw_only=True)
class OutboxInfo:
    """What the outbox has that is not moved to the broker yet."""

    #: where it is
    store: str
    #: messages that are to be moved
    waiting: int
    #: seconds since the oldest of them that nobody moves at this moment was enqueued; None = there is none
    oldest: float | None
    #: messages that the broker has refused
    refused: int


@attrs.frozen(kw_only=True)
class QueueOverview:
    """A queue as it is now."""

    name: str
    #: how the broker describes itself
    broker: str
    queue: QueueSize
    #: results by state
    results: Mapping[State, int]
    clusters: tuple[ClusterStatus, ...]
    #: clusters whose status is not signed with a key of ours
    unreadable: int
    #: whether the broker keeps the status that clusters publish
    status: bool = True
    #: the configuration file that was used
    configuration: str = "no file"
    #: no cluster takes new tasks, until the queue is resumed
    paused: bool = False
    #: tasks that began, may run only once and did not end, among the failures that were looked at
    interrupted: int = 0
    #: the queues that have messages or are paused
    queues: tuple[QueueInfo, ...] = ()
    #: None = there is no outbox
    outbox: OutboxInfo | None = None

    @property
    def takeable(self) -> int:
        """How many ready messages are in queues that are not paused and have a cluster."""
        if not self.queues:
            return self.queue.ready
        left = {one.name for one in unserved(self.queues, self.clusters)}
        return sum(one.ready for one in self.queues if not one.paused and one.name not in left)

    @property
    def rate(self) -> float:
        """Tasks finished a second, by all clusters."""
        return sum(one.rate for one in self.clusters)

    def running(self) -> Iterator[tuple[ClusterStatus, WorkerStatus]]:
        """Yield the workers that run a task, the longest running first."""
        found = [(one, worker) for one in self.clusters for worker in one.workers if worker.task]
        yield from sorted(found, key=lambda pair: -pair[1].running_for)

    @property
    def no_clusters(self) -> str:
        """What is printed if no cluster is seen."""
        if not self.status:
            return "not known, because this broker keeps no status of clusters"
        return f"none; start one with: {typed('run MODULE:APP')}"

    @property
    def examined(self) -> str:
        """Among which failures the interrupted ones are counted."""
        failed = self.results.get(State.FAILED, 0)
        newest = f"the newest {EXAMINED:,} of " if failed > EXAMINED else ""
        return f"among {newest}{counted(failed, 'failure')}"

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name,
            "broker": self.broker,
            "configuration": self.configuration,
            "queue": msgspec.to_builtins(self.queue),
            "paused": self.paused,
            "queues": [attrs.asdict(one) for one in self.queues],
            "outbox": None if self.outbox is None else attrs.asdict(self.outbox),
            "results": {state.name.lower(): self.results.get(state, 0) for state in reversed(State)},
            "interrupted": self.interrupted,
            "failures_examined": min(EXAMINED, self.results.get(State.FAILED, 0)),
            "clusters": [attrs.asdict(one) for one in self.clusters],
            "unreadable_clusters": self.unreadable,
        }


def look(app: App) -> QueueOverview:
    """Read the state of a queue from broker and store."""
    runtime = app.runtime
    with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
        broker.ping()
        clusters, unreadable = statuses(runtime, broker.statuses())
        return QueueOverview(
            name=runtime.config.name,
            broker=broker.info(),
            configuration=runtime.config.file_text,
            queue=broker.size(),
            results=store.counts(),
            clusters=tuple(clusters),
            unreadable=unreadable,
            status=broker.capabilities.cluster_status,
            paused=paused(app, clusters),
            interrupted=_interrupted(runtime, store),
            queues=tuple(queue_infos(runtime, broker)),
            outbox=outbox_info(runtime),
        )


def outbox_info(runtime: Runtime) -> OutboxInfo | None:
    """Look into the outbox; return None if there is none."""
    store = runtime.config.outbox
    if store is None:
        return None
    try:
        with runtime.outboxes.connection() as outbox:
            size, queues = outbox.size(), queue_infos(runtime, outbox)
    except QueueMissing:
        # it is made by the first message
        return OutboxInfo(store=store, waiting=0, oldest=None, refused=0)
    ages = [one.oldest for one in queues if one.oldest is not None]
    waiting = size.ready + (size.leased or 0)
    return OutboxInfo(
        store=store, waiting=waiting, oldest=max(ages, default=None), refused=size.dead_letters or 0
    )


def _interrupted(runtime: Runtime, store: ResultStore) -> int:
    """Return how many of the newest failures were interrupted, and tasks whose cluster is dead."""
    count = 0
    for record in [*store.recent(State.FAILED, EXAMINED), *store.group(BEGUN)]:
        with suppress(EnvelopeError):
            count += read_result(runtime, record).interrupted
    return count


def unserved(queues: Iterable[QueueInfo], clusters: Sequence[ClusterStatus]) -> list[QueueInfo]:
    """Return the queues with messages that none of the clusters there are takes, though it is not paused."""
    if not clusters or any(one.queues is None for one in clusters):
        return []
    served = {name for one in clusters for name in one.queues or ()}
    return [one for one in queues if one.ready and not one.paused and one.name not in served]


def unserved_text(one: QueueInfo) -> str:
    """Return the sentence about a queue that no cluster serves."""
    return (
        f"{counted(one.ready, 'message')} ready in the queue {one.name!r}, which no cluster runs; start one "
        f"with: {typed(f'run --queues {one.name} MODULE:APP')}"
    )


def paused(app: App, clusters: Iterable[ClusterStatus]) -> bool:
    """Return whether a queue is paused: by its flag, or if it has none by the status of its clusters."""
    try:
        return app.queue.is_paused()
    except NotSupported:
        return any(one.paused for one in clusters)


def statuses(runtime: Runtime, bodies: Iterable[bytes]) -> tuple[list[ClusterStatus], int]:
    """Return the clusters whose status is signed with a key of ours, and the number of others."""
    found, unreadable = [], 0
    for body in bodies:
        try:
            found.append(_decode(runtime.status_sealer.open(STATUS, body)))
        except (EnvelopeError, msgspec.MsgspecError):
            unreadable += 1
    return sorted(found, key=_order), unreadable


def _order(one: ClusterStatus) -> tuple[list[int | str], str, int]:
    """Put night-2 before night-10."""
    parts = re.split(r"([0-9]+)", one.label)
    # Every second part is a number.
    label = [int(part) if index % 2 else part for index, part in enumerate(parts)]
    return label, one.host, one.pid

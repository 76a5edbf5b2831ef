"""What the monitor asks for, how often, and what it keeps meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.cli.dead_letter import read
from qcore.cli.overview import QueueOverview, paused, statuses
from qcore.errors import BackendUnavailable, DecodeError, EnvelopeError, QcoreError
from qcore.model import QueueSize, Result, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.app import App
    from qcore.cli.dead_letter import DeadLetterView
    from qcore.model import StoredResult
    from qcore_calendar.schedule import Schedule

#: Failures, and dead letters, asked for at once.
LISTED: Final = 20
#: Seconds after which lists are asked for anew although their number has not changed.
_LISTS: Final = 10.0
#: Seconds between two looks at the schedules, which change seldom.
_SCHEDULES: Final = 5.0
#: Seconds for which a broker is still what it said it is.
_INFO: Final = 60.0


@attrs.frozen(kw_only=True)
class Snapshot:
    """A queue and all that is shown of it."""

    #: epoch seconds of the last look that was answered
    taken: float = 0.0
    #: None before the first answer
    overview: QueueOverview | None = None
    #: newest first
    failures: tuple[Result, ...] = ()
    #: oldest first
    dead_letters: tuple[DeadLetterView, ...] = ()
    #: broken ones first, then by their next slot
    schedules: tuple[Schedule, ...] = ()
    #: what could not be asked in the last look
    troubles: tuple[str, ...] = ()

    @property
    def paused(self) -> bool:
        """Whether the queue is known to be paused."""
        return self.overview is not None and self.overview.paused

    def record(self) -> dict[str, Any]:
        """Return what a machine reads: nothing of arguments or returned values."""
        return {
            "taken": self.taken,
            **(self.overview.record() if self.overview else {}),
            "failures": [_failure(one) for one in self.failures],
            "dead_letters": [one.record() for one in self.dead_letters],
            "schedules": [_schedule(one) for one in self.schedules],
            "troubles": list(self.troubles),
        }


def state_of(schedule: Schedule) -> str:
    """Return `broken`, `waiting`, `paused` or `done`."""
    if schedule.fault:
        return "broken"
    return "waiting" if schedule.repeats else "paused" if schedule.kept else "done"


class Watcher:
    """Looks at a queue: three or four calls each time, lists only when they have changed."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._last = Snapshot()
        self._asked: dict[str, tuple[object, float]] = {}

    def look(self) -> Snapshot:
        """Return what is known now; what does not answer keeps what was known before."""
        steps: Mapping[str, Callable[[Snapshot], Snapshot]] = {
            "the broker": self._broker,
            "the result store": self._store,
            "the store of schedules": self._schedules,
        }
        found = attrs.evolve(self._last, troubles=(), taken=time.time())
        for what, step in steps.items():
            try:
                found = step(found)
            except QcoreError as exc:
                text = f"{what} does not answer" if isinstance(exc, BackendUnavailable) else what
                # Who waits for one that is down needs not wait for the others as well.
                found = attrs.evolve(found, troubles=(f"{text}: {exc}",), taken=self._last.taken)
                self.forget()
                break
        self._last = found
        return found

    def forget(self) -> None:
        """Ask for everything the next time."""
        self._asked.clear()

    def _due(self, what: str, seen: object, seconds: float) -> bool:
        """Whether something is to be asked for: what it hangs on has changed, or it is old."""
        before, when = self._asked.get(what, (None, 0.0))
        now = time.monotonic()
        if what in self._asked and before == seen and now - when < seconds:
            return False
        self._asked[what] = (seen, now)
        return True

    def _broker(self, found: Snapshot) -> Snapshot:
        runtime, before = self._app.runtime, found.overview
        with runtime.brokers.connection() as broker:
            clusters, unreadable = statuses(runtime, broker.statuses())
            size = broker.size()
            named = broker.info() if before is None or self._due("info", 0, _INFO) else before.broker
            if broker.capabilities.dead_letters and self._due("dead_letters", size.dead_letters, _LISTS):
                letters = (
                    [read(runtime, one) for one in broker.dead_letters(LISTED)]
                    if size.dead_letters != 0
                    else []
                )
                found = attrs.evolve(found, dead_letters=tuple(letters))
        overview = QueueOverview(
            name=runtime.config.name,
            broker=named,
            queue=size,
            results=before.results if before else {},
            clusters=tuple(clusters),
            unreadable=unreadable,
            status=broker.capabilities.cluster_status,
            paused=before.paused if before else False,
            configuration=runtime.config.file_text,
        )
        return attrs.evolve(found, overview=overview)

    def _store(self, found: Snapshot) -> Snapshot:
        runtime = self._app.runtime
        with runtime.stores.connection() as store:
            counts = store.counts()
            if self._due("failures", counts.get(State.FAILED, 0), _LISTS):
                newest = store.recent(State.FAILED, LISTED)
                found = attrs.evolve(found, failures=tuple(self._readable(newest)))
        overview = found.overview
        assert overview is not None  # the broker was asked before
        overview = attrs.evolve(overview, results=counts, paused=paused(self._app, overview.clusters))
        return attrs.evolve(found, overview=overview)

    def _readable(self, stored: Sequence[StoredResult]) -> list[Result]:
        results = self._app.runtime.results
        found = []
        for one in stored:
            try:
                found.append(results.read(one))
            except (EnvelopeError, DecodeError) as exc:
                text = f"(unreadable: {exc})"
                found.append(
                    Result(id=one.id.hex(), name=one.name, state=one.state, error=text, finished=one.finished)
                )
        return found

    def _schedules(self, found: Snapshot) -> Snapshot:
        if not self._due("schedules", 0, _SCHEDULES):
            return found
        rank = {"broken": 0, "waiting": 1, "paused": 2, "done": 3}
        listed = sorted(
            self._app.schedules.list(), key=lambda one: (rank[state_of(one)], one.next_run, one.name)
        )
        return attrs.evolve(found, schedules=tuple(listed))


def empty(name: str) -> QueueOverview:
    """Return what is shown of a queue that has not answered yet."""
    return QueueOverview(name=name, broker="", queue=QueueSize(0), results={}, clusters=(), unreadable=0)


def _failure(one: Result) -> dict[str, Any]:
    record = attrs.asdict(one, recurse=False, filter=attrs.filters.exclude("value", "arguments"))
    return {**record, "state": one.state.name.lower()}


def _schedule(one: Schedule) -> dict[str, Any]:
    return {
        "name": one.name,
        "task": one.task,
        "rule": one.rule,
        "state": state_of(one),
        "next_run": one.next_run,
        "fault": one.fault,
    }

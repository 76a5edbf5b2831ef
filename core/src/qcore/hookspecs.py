"""Defines every hook that a plugin can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ErrorReporter, ResultStore, ScheduleStore, Serializer, Settings
    from qcore.model import Outcome, TaskInfo
    from qcore.status import ClusterStatus
    from qcore_calendar.schedule import Schedule

hookspec = pluggy.HookspecMarker("qcore")
#: marks a function of a plugin's module as an implementation of a hook
hookimpl = pluggy.HookimplMarker("qcore")


# -- registration: called once to get names; heavy imports belong inside the factories


@hookspec
def qcore_settings() -> Mapping[str, Any]:  # type: ignore[empty-body]  # a specification has no body
    """Offer configuration keys: key -> type (an attrs class, or any type that cattrs can structure)."""


@hookspec
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:  # type: ignore[empty-body]  # as above
    """Offer brokers: the configuration key that selects it -> factory."""


@hookspec
def qcore_local_brokers() -> Mapping[str, Callable[[Settings], Path | None]]:  # type: ignore[empty-body]  # as above
    """Offer brokers that need no server: key -> function that returns the file of a queue.

    The secret key of such a queue is created automatically and stored beside that file. The first
    broker with a file is used when the configuration names none. None instead of a file means that
    the queue and its key exist only in one process.
    """


@hookspec
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:  # type: ignore[empty-body]  # as above
    """Offer result stores: name -> factory; a store with a broker's name is that broker's default."""


@hookspec
def qcore_serializers() -> Mapping[str, Callable[[], Serializer]]:  # type: ignore[empty-body]  # as above
    """Offer serializers: name -> factory."""


@hookspec
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:  # type: ignore[empty-body]  # as above
    """Offer error reporters: name -> factory, called with the user's settings as keyword arguments."""


@hookspec
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:  # type: ignore[empty-body]  # as above
    """Offer schedule stores: name -> factory; a store with a broker's name is that broker's default."""


@hookspec
def qcore_schedulers() -> Mapping[str, Callable[[], Any]]:  # type: ignore[empty-body]  # as above
    """Offer what fires schedules: `schedules` -> factory of a `qcore.scheduling.Scheduler`.

    It has `App.schedules` too. A cluster uses one, so another one is offered by the same name, and
    qcore's own is switched off: `QCORE_DISABLE_PLUGINS=schedules`.
    """


@hookspec
def qcore_task_runners() -> Mapping[str, Callable[[], Any]]:  # type: ignore[empty-body]  # as above
    """Offer what runs several tasks at once in a worker: `at_once` -> factory.

    It makes a `qcore.workers.sharing.RunsAtOnce`. Another one is offered by the same name, and qcore's
    own is switched off: `QCORE_DISABLE_PLUGINS=at_once`. Without any a worker runs one task at a time.
    """


@hookspec
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:  # type: ignore[empty-body]  # as above
    """Offer coordination stores: name -> factory; the broker's own name makes it that broker's default."""


@hookspec
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:  # type: ignore[empty-body]  # as above
    """Offer URLs: scheme -> function that returns the configuration keys which name the same broker."""


@hookspec
def qcore_commands() -> Mapping[str, Callable[[], Any]]:  # type: ignore[empty-body]  # as above
    """Offer commands of `qcore`: name -> factory of a click command.

    The first line of the factory's docstring describes the command in `qcore --help`.
    """


@hookspec
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:  # type: ignore[empty-body]  # as above
    """Offer checks of `qcore doctor`: name -> function that returns a text, or raises if the check fails."""


# -- lifecycle: one argument each, so that a new field breaks no plugin


@attrs.frozen(kw_only=True)
class ClusterEvent:
    """A cluster starts, works or stops, in its supervisor process."""

    status: ClusterStatus
    #: the `Config` it works with
    config: Any


@attrs.frozen(kw_only=True)
class WorkerEvent:
    """A worker starts or stops, in its own process."""

    #: position in the pool, from 0
    slot: int
    pid: int
    #: `name` of the configuration
    cluster: str


@attrs.define(kw_only=True)
class EnqueueEvent:
    """A task is about to be signed, in the producer; a hook may add to `headers`."""

    #: a hook may replace it by one with other arguments or another group; not that of a schedule
    task: TaskInfo
    headers: dict[str, str]
    #: name of the clusters that will run it
    cluster: str = ""
    #: the schedule whose slot enqueues it
    schedule: Schedule | None = None
    #: the headers of the messages after whose end it runs: the link before it in a chain, or members of
    #: the group of which it is the callback, at most 32
    after: Sequence[Mapping[str, str]] = ()


@attrs.frozen(kw_only=True)
class ExecuteEvent:
    """A task is about to run or has run, in its worker."""

    task: TaskInfo
    #: None before the run
    outcome: Outcome | None = None


@attrs.frozen(kw_only=True)
class SettledEvent:
    """The settlement of a message is durable."""

    task_id: str
    name: str
    #: `ack`, `retry`, `release` or `dead_letter`
    action: str
    #: how the run ended, a value of `Kind`
    kind: str
    reason: str = ""
    #: number of the run, from 1; 0 if it is not known
    attempt: int = 0
    #: how long the run took; None if that is not known
    seconds: float | None = None


@attrs.frozen(kw_only=True)
class RejectedEvent:
    """A message was rejected without being decoded."""

    reason: str
    #: bytes of the rejected message
    size: int


class Hook(Protocol):
    """A bound lifecycle hook."""

    def __call__(self, event: Any, /) -> None:  # noqa: ANN401 - each hook has its own class of event
        """Handle the event."""


@hookspec
def qcore_cluster_start(event: ClusterEvent) -> None:
    """Run in the supervisor when the workers are ready."""


@hookspec
def qcore_cluster_status(event: ClusterEvent) -> None:
    """Run in the supervisor with each status it publishes; it holds up the supervisor."""


@hookspec
def qcore_cluster_stop(event: ClusterEvent) -> None:
    """Run in the supervisor when the workers have ended."""


@hookspec
def qcore_worker_start(event: WorkerEvent) -> None:
    """Run in a new worker before its first lease."""


@hookspec
def qcore_worker_stop(event: WorkerEvent) -> None:
    """Run in a worker that ends by itself, after its last settlement."""


@hookspec
def qcore_pre_enqueue(event: EnqueueEvent) -> None:
    """Run in the producer before a task is signed; SkipTask skips the task."""


@hookspec
def qcore_pre_execute(event: ExecuteEvent) -> None:
    """Run in the worker before the function; SkipTask settles the task as skipped."""


@hookspec
def qcore_post_execute(event: ExecuteEvent) -> None:
    """Run in the worker after the function, whether it returned or raised."""


@hookspec
def qcore_settled(event: SettledEvent) -> None:
    """Run once a settlement is durable, in the worker or, for a dead worker, in the supervisor."""


@hookspec
def qcore_rejected(event: RejectedEvent) -> None:
    """Run when a message is rejected: signed by an unknown key, altered, or not an envelope."""

"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.coordination import CoordinationStore
    from qcore.hookspecs import EnqueueEvent, ExecuteEvent, SettledEvent, WorkerEvent
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Settings
    from qcore_django.boundary import Boundary
    from qcore_django.signals import Sending

#: imported in the processes of a site, and in no other process where this package is installed
_BOUNDARY: Final = "qcore_django.boundary"
_SIGNALS: Final = "qcore_django.signals"
_TASK_FLAGS: Final = "qcore_django.task_flags"
_DELIVERY: Final = "qcore_django.delivery"
#: header of a task whose result the cache of the site keeps; for how many seconds, 0 = for ever
CACHED: Final = "django-q-cached"
#: the queue of this process, if it is a worker
_WORKER: Final[dict[str, str]] = {}


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `orm`, an alias of a database of the site."""
    return {"orm": str}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `orm`."""
    return {"orm": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer a result store in the same database."""
    return {"orm": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer a schedule store in the same database."""
    return {"orm": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `orm`."""
    return {"orm": _coordination}


@hookimpl
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
    """Offer a check of the database and its tables."""
    return {"orm": _check}


@hookimpl
def qcore_worker_start(event: WorkerEvent) -> None:
    """Treat the tasks of this worker as requests of the site."""
    if boundary := _boundary():
        boundary.enter_worker()
    _WORKER["queue"] = event.cluster
    if sending := _sending():
        sending.spawned(event)


@hookimpl
def qcore_pre_enqueue(event: EnqueueEvent) -> None:
    """Send the signal of a task that is enqueued."""
    if sending := _sending():
        sending.enqueuing(event)
    if delivery := sys.modules.get(_DELIVERY):
        delivery.mark(event)


@hookimpl
def qcore_pre_execute(event: ExecuteEvent) -> None:
    """Let go of connections that are too old, and send the signal of a task that runs."""
    if boundary := _boundary():
        boundary.before_task()
    if sending := _sending():
        sending.executing(event)


@hookimpl
def qcore_post_execute(event: ExecuteEvent) -> None:
    """Keep what is cached, send signals, and leave connections, language and zone as the task found them."""
    if CACHED in event.task.headers:
        from qcore_django import cached_results

        cached_results.keep(event)
    if sending := _sending():
        sending.executed(event)
    if boundary := _boundary():
        boundary.after_task()


@hookimpl
def qcore_settled(event: SettledEvent) -> None:
    """Send the signal of a task whose result is stored."""
    if sending := _sending():
        sending.settled(event)
    if flags := sys.modules.get(_TASK_FLAGS):
        from qcore_django.shared import app

        flags.forget(app, event, _WORKER.get("queue", ""))


def _boundary() -> Boundary | None:
    found = sys.modules.get(_BOUNDARY)
    return None if found is None else found.BOUNDARY


def _sending() -> Sending | None:
    # Whoever has connected a receiver has imported the signals.
    found = sys.modules.get(_SIGNALS)
    return None if found is None else found.SENDING


def _broker(settings: Settings) -> Broker:
    from qcore_django.orm.stores import OrmBroker

    return OrmBroker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_django.orm.stores import OrmResults

    return OrmResults(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_django.orm.stores import OrmSchedules

    return OrmSchedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_django.orm.stores import OrmCoordination

    return OrmCoordination(settings)


def _check(settings: Settings) -> str:
    from qcore_django.orm.checks import check

    return check(settings)

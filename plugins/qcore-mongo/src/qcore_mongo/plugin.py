"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the keys `mongo`, a table or a URI, and `mongo_db`."""
    from qcore_mongo.settings import MongoSettings

    return {"mongo": MongoSettings | str, "mongo_db": str}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `mongo`."""
    return {"mongo": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer a result store in the same database."""
    return {"mongo": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer a schedule store in the same database."""
    return {"mongo": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `mongo`."""
    return {"mongo": _coordination}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the schemes that the key `mongo` takes as a URI; the database is the URI's own."""
    return dict.fromkeys(("mongodb", "mongodb+srv"), _of_url)


@hookimpl
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
    """Offer a check of the server's version and settings."""
    return {"mongo": _check}


@hookimpl
def qcore_worker_stop() -> None:
    """Leave the driver's threads to the end of the process; they notice it twice a second only."""
    monitor = sys.modules.get("pymongo.synchronous.monitor")
    if monitor is not None:
        atexit.unregister(monitor._shutdown_resources)  # noqa: SLF001 - there is no public way


def _of_url(url: str) -> Mapping[str, Any]:
    return {"mongo": url}


def _broker(settings: Settings) -> Broker:
    from qcore_mongo.broker import MongoBroker

    return MongoBroker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_mongo.results import MongoResults

    return MongoResults(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_mongo.schedules import MongoSchedules

    return MongoSchedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_mongo.client import Client
    from qcore_mongo.coordination import MongoCoordination

    return MongoCoordination(Client(settings))


def _check(settings: Settings) -> str:
    from qcore_mongo.checks import check

    return check(settings)

"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Settings

#: schemes of URLs; `sqlite` is that of the core's own broker
SCHEMES: Final = ("postgresql", "postgres", "postgresql+psycopg", "mariadb", "mysql")


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `sql`, a table or a URL."""
    from qcore_sql.settings import SqlSettings

    return {"sql": SqlSettings | str}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `sql`."""
    return {"sql": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer a result store in the same database."""
    return {"sql": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer a schedule store in the same database."""
    return {"sql": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `sql`."""
    return {"sql": _coordination}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the schemes that the key `sql` takes as a URL."""
    return dict.fromkeys(SCHEMES, _of_url)


@hookimpl
def qcore_commands() -> Mapping[str, Callable[[], click.Command]]:
    """Offer the command `sql`."""
    return {"sql": _command}


@hookimpl
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
    """Offer a check of the server's version and tables."""
    return {"sql": _check}


def _of_url(url: str) -> Mapping[str, Any]:
    return {"sql": url}


def _broker(settings: Settings) -> Broker:
    from qcore_sql.broker import SqlBroker

    return SqlBroker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_sql.results import SqlResults

    return SqlResults(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_sql.schedules import SqlSchedules

    return SqlSchedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_sql.coordination import SqlCoordination

    return SqlCoordination(settings)


def _command() -> click.Command:
    """Create or migrate the tables of a queue in a database."""
    from qcore_sql.command import command

    return command


def _check(settings: Settings) -> str:
    from qcore_sql.checks import check

    return check(settings)

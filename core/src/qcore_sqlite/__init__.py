"""Exports the SQLite broker and its stores, imported when used."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_sqlite.broker import SqliteBroker, make_broker
    from qcore_sqlite.coordination import SqliteCoordination, make_coordination
    from qcore_sqlite.path import default_path
    from qcore_sqlite.results import SqliteResults, make_results
    from qcore_sqlite.schedules import SqliteSchedules, make_schedules
    from qcore_sqlite.settings import SqliteSettings
else:
    __getattr__ = on_demand(
        __name__,
        SqliteBroker=".broker",
        SqliteCoordination=".coordination",
        SqliteResults=".results",
        SqliteSchedules=".schedules",
        SqliteSettings=".settings",
        default_path=".path",
        make_broker=".broker",
        make_coordination=".coordination",
        make_results=".results",
        make_schedules=".schedules",
    )

__all__ = [
    "SqliteBroker",
    "SqliteCoordination",
    "SqliteResults",
    "SqliteSchedules",
    "SqliteSettings",
    "default_path",
    "make_broker",
    "make_coordination",
    "make_results",
    "make_schedules",
]

"""Exports the SQLite broker and its stores."""

from qcore_sqlite.broker import SqliteBroker, make_broker
from qcore_sqlite.coordination import SqliteCoordination, make_coordination
from qcore_sqlite.path import default_path
from qcore_sqlite.results import SqliteResults, make_results
from qcore_sqlite.schedules import SqliteSchedules, make_schedules
from qcore_sqlite.settings import SqliteSettings

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

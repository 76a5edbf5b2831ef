"""Hands on the built-in SQLite broker, result store and schedule store."""

from qcore.builtin.sqlite.broker import SqliteBroker, make_broker
from qcore.builtin.sqlite.database import SqliteSettings
from qcore.builtin.sqlite.place import default_path
from qcore.builtin.sqlite.results import SqliteResults, make_results
from qcore.builtin.sqlite.schedules import SqliteSchedules, make_schedules

__all__ = [
    "SqliteBroker",
    "SqliteResults",
    "SqliteSchedules",
    "SqliteSettings",
    "default_path",
    "make_broker",
    "make_results",
    "make_schedules",
]

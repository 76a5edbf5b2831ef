"""Exports the broker, the stores and the settings for SQL databases."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_sql.broker import SqlBroker
    from qcore_sql.coordination import SqlCoordination
    from qcore_sql.results import SqlResults
    from qcore_sql.schedules import SqlSchedules
    from qcore_sql.settings import SqlSettings
else:
    __getattr__ = on_demand(
        __name__,
        SqlBroker=".broker",
        SqlCoordination=".coordination",
        SqlResults=".results",
        SqlSchedules=".schedules",
        SqlSettings=".settings",
    )

__all__ = ["SqlBroker", "SqlCoordination", "SqlResults", "SqlSchedules", "SqlSettings"]

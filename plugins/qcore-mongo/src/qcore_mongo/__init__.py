"""Exports the broker, the stores and the settings for MongoDB."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_mongo.broker import MongoBroker
    from qcore_mongo.coordination import MongoCoordination
    from qcore_mongo.results import MongoResults
    from qcore_mongo.schedules import MongoSchedules
    from qcore_mongo.settings import MongoSettings
else:
    __getattr__ = on_demand(
        __name__,
        MongoBroker=".broker",
        MongoCoordination=".coordination",
        MongoResults=".results",
        MongoSchedules=".schedules",
        MongoSettings=".settings",
    )

__all__ = ["MongoBroker", "MongoCoordination", "MongoResults", "MongoSchedules", "MongoSettings"]

"""MongoDB behind qcore's doors."""

from qcore_mongo.broker import MongoBroker
from qcore_mongo.notes import MongoNotes
from qcore_mongo.results import MongoResults
from qcore_mongo.schedules import MongoSchedules
from qcore_mongo.settings import MongoSettings

__all__ = ["MongoBroker", "MongoNotes", "MongoResults", "MongoSchedules", "MongoSettings"]

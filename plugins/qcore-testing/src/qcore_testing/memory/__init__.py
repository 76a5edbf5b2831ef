"""Queue and stores inside one process."""

from qcore_testing.memory.broker import MemoryBroker
from qcore_testing.memory.coordination import MemoryCoordination
from qcore_testing.memory.results import MemoryResults
from qcore_testing.memory.schedules import MemorySchedules
from qcore_testing.memory.server import (
    MemoryServer,
    MemorySettings,
    make_broker,
    make_coordination,
    make_results,
    make_schedules,
)

__all__ = [
    "MemoryBroker",
    "MemoryCoordination",
    "MemoryResults",
    "MemorySchedules",
    "MemoryServer",
    "MemorySettings",
    "make_broker",
    "make_coordination",
    "make_results",
    "make_schedules",
]

"""Queue, results and schedules inside one process."""

from qcore.builtin.memory.broker import MemoryBroker
from qcore.builtin.memory.results import MemoryResults
from qcore.builtin.memory.schedules import MemorySchedules
from qcore.builtin.memory.server import (
    MemoryServer,
    MemorySettings,
    make_broker,
    make_results,
    make_schedules,
)

__all__ = [
    "MemoryBroker",
    "MemoryResults",
    "MemorySchedules",
    "MemoryServer",
    "MemorySettings",
    "make_broker",
    "make_results",
    "make_schedules",
]

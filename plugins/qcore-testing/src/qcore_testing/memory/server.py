"""Who shares a queue in memory: whoever has the same settings object."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from qcore_testing.memory.broker import MemoryBroker
from qcore_testing.memory.coordination import MemoryCoordination
from qcore_testing.memory.queue import MemoryQueue
from qcore_testing.memory.results import MemoryResults, ResultTable
from qcore_testing.memory.schedules import MemorySchedules, ScheduleTable

if TYPE_CHECKING:
    from qcore.interfaces import Settings


class MemoryServer:
    """Queues and stores by name; what a database server is to other brokers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, MemoryQueue] = {}
        self._results: dict[str, ResultTable] = {}
        self._coordination: dict[str, MemoryCoordination] = {}
        self._schedules: dict[str, ScheduleTable] = {}
        #: names this server among those of the process, see `Capabilities.transaction_domain`
        self.transaction_domain = f"memory:{id(self):x}"

    def queue(self, name: str) -> MemoryQueue:
        """Return the queue of that name."""
        with self._lock:
            return self._queues.setdefault(name, MemoryQueue())

    def results(self, name: str) -> ResultTable:
        """Return the results of that queue's tasks."""
        with self._lock:
            return self._results.setdefault(name, ResultTable())

    def coordination(self, name: str) -> MemoryCoordination:
        """Return what coordinates that queue's tasks."""
        with self._lock:
            return self._coordination.setdefault(name, MemoryCoordination())

    def schedules(self, name: str) -> ScheduleTable:
        """Return the schedules of that queue."""
        with self._lock:
            return self._schedules.setdefault(name, ScheduleTable())


@attrs.frozen(kw_only=True, eq=False)
class MemorySettings:
    """The key `memory`: `{}`, there is nothing to set.

    Whatever is made from one object of this class shares queues, results and schedules.
    """

    #: made anew with each configuration, so that two tests never meet
    server: MemoryServer = attrs.field(init=False, repr=False, factory=MemoryServer)


def make_broker(settings: Settings) -> MemoryBroker:
    """Return a broker of the queue the settings name."""
    server = _server(settings)
    return MemoryBroker(
        server.queue(settings.name),
        retry=settings.retry,
        backend=server.transaction_domain,
        owner=settings.owner,
        order=settings.queues,
    )


def make_results(settings: Settings) -> MemoryResults:
    """Return a store of the results of the queue the settings name."""
    server = _server(settings)
    return MemoryResults(server.results(settings.name), backend=server.transaction_domain)


def make_coordination(settings: Settings) -> MemoryCoordination:
    """Return what coordinates the tasks of the queue the settings name."""
    return _server(settings).coordination(settings.name)


def make_schedules(settings: Settings) -> MemorySchedules:
    """Return a store of the schedules of the queue the settings name."""
    server = _server(settings)
    return MemorySchedules(server.schedules(settings.name), backend=server.transaction_domain)


def _server(settings: Settings) -> MemoryServer:
    section = settings.section("memory")
    return section.server if isinstance(section, MemorySettings) else MemoryServer()

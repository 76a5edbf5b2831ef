"""The scheduler as the engine finds it: which file does which part."""

# ruff: noqa: PLC0415 - a process imports the parts that it needs

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from qcore.declarations import DeclaredSchedules

if TYPE_CHECKING:
    from qcore.config import Config
    from qcore.declarations import Declares
    from qcore.interfaces import Broker
    from qcore.messages.envelope import Opened
    from qcore.model import Outcome
    from qcore.plugins import Plugins
    from qcore.runtime import Runtime
    from qcore.scheduling import Firing
    from qcore.tasks.plan import TaskPlan
    from qcore.tasks.task import Producer
    from qcore_schedules.app_api import Schedules


class ClockScheduler:
    """Enqueues tasks by the clock, for any number of clusters of a queue; see `qcore.scheduling`."""

    def api(self, app: Producer) -> Schedules:
        """Return what `App.schedules` is."""
        from qcore_schedules.app_api import Schedules

        return Schedules(app)

    def gather(self, app_type: type[Declares], config: Config, plugins: Plugins) -> bytes:
        """Return what the imported modules declare for a queue."""
        if not DeclaredSchedules.any:
            # To look at a value counts a reference to it, and then no process shares its page of memory.
            return msgspec.msgpack.encode({"modules": list(sys.modules)})
        from qcore_schedules.declared import gather

        return gather(app_type, config, plugins)

    def start(self, runtime: Runtime, declared: bytes) -> Firing:
        """Begin to fire the schedules of a queue, by a thread."""
        from qcore_schedules.scheduler_thread import SchedulerThread

        return SchedulerThread(runtime, declared)

    def purge(self, runtime: Runtime, broker: Broker) -> int:
        """Remove every message that waits; slots whose tasks are removed may fire again."""
        from qcore_schedules.purging import purge

        return purge(runtime, broker)

    def key_ids(self, runtime: Runtime) -> list[bytes]:
        """Return the id of the key that sealed each schedule, unverified."""
        from qcore_schedules.sealed import stored_schedules

        with stored_schedules(runtime) as store:
            return store.key_ids()

    def reseal(self, runtime: Runtime) -> tuple[int, int]:
        """Seal with the first key what another one sealed; return how many, and how many no key opens."""
        from qcore_schedules.sealed import stored_schedules

        with stored_schedules(runtime) as store:
            return store.reseal()

    def quarantine(
        self, runtime: Runtime, opened: Opened, plan: TaskPlan, outcome: Outcome, failures: int
    ) -> Outcome:
        """Disable the schedule of a task whose function cannot be found."""
        from qcore_schedules.quarantine import quarantine_schedule

        return quarantine_schedule(runtime, opened, plan, outcome, failures)

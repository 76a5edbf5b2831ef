"""What the engine asks of a scheduler, and how it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from qcore.declarations import DeclaredSchedules
from qcore.lazy import cached

if TYPE_CHECKING:
    import threading

    from qcore.config import Config
    from qcore.declarations import Declares
    from qcore.interfaces import Broker
    from qcore.messages.envelope import Opened
    from qcore.model import Outcome
    from qcore.plugins import Plugins
    from qcore.runtime import Runtime
    from qcore.tasks.plan import TaskPlan
    from qcore.tasks.task import Producer
    from qcore_schedules.app_api import Schedules

#: the name that the scheduler is offered by
_NAME: Final = "schedules"


class Firing(Protocol):
    """Schedules being fired, by a thread of the supervisor that begins when this is made."""

    thread: threading.Thread
    #: schedules that were fired, and those of them that were late
    fired: int
    fired_late: int

    @property
    def trouble(self) -> str:
        """Why schedules are not fired; empty if they are."""

    def halt(self) -> None:
        """Fire nothing more, without waiting: a signal handler may call this."""

    def close(self, seconds: float) -> bool:
        """Stop the thread; return whether it ended within `seconds`."""


class Scheduler(Protocol):
    """What the engine asks of the plugin that enqueues tasks by the clock.

    The hook `qcore_schedulers` offers it. It stands on the engine, and uses its queues and stores.
    """

    def api(self, app: Producer) -> Schedules:
        """Return what `App.schedules` is."""

    def gather(self, app_type: type[Declares], config: Config, plugins: Plugins) -> bytes:
        """Return, in the zygote, what the imported modules declare for a queue, in the scheduler's form."""

    def start(self, runtime: Runtime, declared: bytes) -> Firing:
        """Begin to fire the schedules of a queue, in its supervisor; `declared` is what was gathered."""

    def purge(self, runtime: Runtime, broker: Broker) -> int:
        """Remove every message that waits, and let the slots fire whose tasks it removes; return how many."""

    def key_ids(self, runtime: Runtime) -> list[bytes]:
        """Return the id of the key that sealed each schedule, unverified."""

    def reseal(self, runtime: Runtime) -> tuple[int, int]:
        """Seal with the first key what another one sealed; return how many, and how many no key opens."""

    def quarantine(
        self, runtime: Runtime, opened: Opened, plan: TaskPlan, outcome: Outcome, failures: int
    ) -> Outcome:
        """Disable the schedule of a task whose function cannot be found; return how the run has ended."""


def scheduler_of(plugins: Plugins) -> Scheduler:
    """Return the scheduler that is installed.

    Raises:
        PluginError: no plugin offers one, or two do; the message says what to do.

    """
    found: Scheduler = plugins.find("qcore_schedulers", _NAME)()
    return found


def scheduler_if_any(plugins: Plugins) -> Scheduler | None:
    """Return the scheduler, None if none is installed: then there are no schedules to look after."""
    return scheduler_of(plugins) if plugins.names("qcore_schedulers") else None


def start_firing(runtime: Runtime, declared: bytes) -> Firing:
    """Begin to fire the schedules of a queue; see `Scheduler.start`.

    Raises:
        PluginError: no plugin can; the message says what to do.

    """
    return scheduler_of(runtime.plugins).start(runtime, declared)


class HasSchedules:
    """What an `App` has of schedules."""

    @cached
    def declared_schedules(self) -> DeclaredSchedules:
        """Those of `App.task(schedule=...)`."""
        return DeclaredSchedules()

    @cached
    def schedules(self: Producer) -> Schedules:
        """The schedules of this queue."""
        return scheduler_of(self.runtime.plugins).api(self)

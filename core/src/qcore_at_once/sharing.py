"""When a worker runs several tasks at once."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from qcore.errors import ConfigError, Interrupted
from qcore.journal.records import ExitReason
from qcore.workers.executors import make_executor
from qcore.workers.replacement import replacement_due
from qcore_at_once.shared_batch import SharedBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.config import Config
    from qcore.model import Delivery
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.sharing import Host, Parts
    from qcore_at_once.side_by_side import SideBySide

_T = TypeVar("_T")


class AtOnce:
    """What the plugin does for a worker."""

    #: the kind of batch that its messages need
    batch = SharedBatch

    def preload(self, config: Config) -> None:
        """Import what workers will need; asyncio takes 4 MB that most of them do not need.

        Raises:
            ConfigError: the event loop that the configuration names is not installed.

        """
        if config.event_loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            msg = (
                "event_loop: 'uvloop' is not installed; in a clone of qcore, pip install ./core[uvloop], "
                "or leave event_loop out"
            )
            raise ConfigError([msg])
        if config.threads > 1 or "asyncio" in sys.modules:
            importlib.import_module("qcore_at_once.awaited")
            importlib.import_module("qcore_at_once.side_by_side")

    def share(self, host: Host, parts: Parts) -> Sharing:
        """Return what runs messages at once in a worker."""
        return Sharing(host, parts)


class Sharing:
    """Runs the messages of a worker at once, from the first that asks for it until none is left."""

    def __init__(self, host: Host, parts: Parts) -> None:
        self._host = host
        self._parts = parts
        self._page = parts.page
        self._batch = parts.batch
        self._config: Config = parts.runtime.config
        #: every message is one of several
        self.always = self._config.threads > 1
        #: an asynchronous one is
        self.wanted = self.always or self._config.coroutines > 1
        self._tasks: SideBySide | None = None

    def work(self, messages: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Run the messages of a batch, and what comes after them, at once.

        Return a batch of those that are to run one after the other instead.
        """
        tasks = self._tasks
        if tasks is None:
            tasks = self._tasks = self._make()
        tasks.take(messages)
        # They are in cells by now.
        self._batch.take([])
        left: Sequence[LeasedMessage] = self._batch.take(tasks.work())
        tasks.forget()
        return left

    def interrupt(self) -> None:
        """Interrupt what is cancelled or late: called by a handler of SIGALRM."""
        if self._tasks is not None:
            self._tasks.interrupt()

    def wake(self) -> None:
        """Have it notice a stop: called by a handler of SIGTERM."""
        if self._tasks is not None:
            self._tasks.wake()

    def close(self) -> None:
        """End its threads."""
        if self._tasks is not None:
            try:
                self._tasks.close()
            except Interrupted:
                # The backend does not answer; what is not settled is in the journal.
                return

    def _make(self) -> SideBySide:
        # They need asyncio, see `AtOnce.preload`.
        from qcore_at_once.awaited import Awaiter  # noqa: PLC0415 - see above
        from qcore_at_once.side_by_side import SideBySide  # noqa: PLC0415 - as above
        from qcore_at_once.threaded import ThreadExecutor  # noqa: PLC0415 - as above

        parts = self._parts
        return SideBySide(
            self._config,
            self._page,
            parts.batch,
            parts.rules,
            self,
            lambda: parts.runtime.make_broker(create=False),
            lambda: make_executor(Awaiter, parts.runtime, parts.surroundings),
            lambda: make_executor(ThreadExecutor, parts.runtime, parts.surroundings),
        )

    # -- what the tasks need, see `Home` --------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether nothing new may begin."""
        return self._host.stopping

    @property
    def leaves(self) -> bool:
        """Whether the worker is due to be replaced."""
        return replacement_due(self._config, self._host.total, self._host.life) is not ExitReason.NOT

    def until_answered(self, call: Callable[..., _T], *args: Any) -> _T:
        """Make a call until a backend answers it; a stop ends the worker instead."""
        return self._parts.patience.until_answered(call, *args)

    def find(self, plan: TaskPlan) -> None:
        """Find a task's function, which may import a module of the program's."""
        self._host.find(plan)

    def count(self) -> None:
        """Count a task that has ended."""
        self._host.total += 1
        self._page.count_finished(self._host.total)

    def limit(self, wanted: int, has: int) -> int:
        """Return how many of so many messages may be leased, beside those it has already."""
        return self._parts.prefetch.limit(wanted, self._host.total + has)

    def verified(self, deliveries: Sequence[Delivery]) -> list[LeasedMessage]:
        """Return the leased messages that may run, once the result store has said which have ended before."""
        return self._parts.patience.screened(self._batch, deliveries, self._config.retry)

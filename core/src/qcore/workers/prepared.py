"""What all workers share, made once before they are forked."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.errors import BackendError, ConfigError
from qcore.guarding import guarded
from qcore.runtime import Runtime
from qcore.tasks.plan import Planner
from qcore.tasks.task import Task
from qcore.workers.sharing import task_runner
from qcore_process.exit_handlers import not_of_the_program
from qcore_process.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.config import Config
    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, Capabilities, ResultStore
    from qcore.plugins import Plugins

_log = logging.getLogger("qcore.zygote")

#: The owner before there is a worker, which leases nothing; one that has none may make the file of a store.
_NO_WORKER: Final = b"\0" * 15 + b"\1"
#: Most tasks whose functions are found before workers are forked, each in a tenth of a millisecond.
_AHEAD: Final = 50


class Backends(NamedTuple):
    """What a worker talks to."""

    broker: Broker
    store: ResultStore
    coordination: CoordinationStore

    def after_fork(self, owner: bytes) -> bool:
        """Have all serve this process, with connections of their own; return whether all can."""
        return all(one.after_fork(owner) for one in self)

    @property
    def may_fork(self) -> bool:
        """Whether the class of each says so itself: one that is derived may have connections of its own."""
        return all("after_fork" in vars(_class_of(one)) for one in self)


def _class_of(made: object) -> type:
    """Return the class that was made, without those that guard it, which have its name."""
    kind = type(made)
    name = kind.__module__, kind.__qualname__
    return [one for one in kind.__mro__ if (one.__module__, one.__qualname__) == name][-1]


class Prepared:
    """A configuration assembled, and what of the process is restored after tasks.

    What is made here costs no worker any time, and its memory is shared as long as nobody writes to it.
    Connections are each worker's own.
    """

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config = config
        self.runtime = Runtime(config, plugins, owner=_NO_WORKER, guard=guarded)
        self.surroundings = Surroundings()
        #: what can serve workers that are forked from now on; None = each makes its own
        self.backends: Backends | None = None
        self._planner: Planner | None = None

    def warm_up(self) -> None:
        """Import what every worker needs, by connecting once."""
        runtime, config = self.runtime, self.config
        with not_of_the_program():
            runtime.made_reporters.preload()
        if runner := task_runner(runtime):
            runner.preload(config)
        try:
            made = self.connect()
            # What a broker is given of queues is each worker's own.
            own = config.queues or not made.broker.capabilities.pauses_queues
            if not own and made.may_fork and made.after_fork(_NO_WORKER):
                made.broker.ping()
                # No worker may find a connection that is this process's.
                made.after_fork(_NO_WORKER)
                self.backends = made
            else:
                for one in made:
                    one.close()
        except BackendError as exc:
            # The workers try again by themselves.
            _log.warning("the broker does not answer yet: %s", exc)
        try:
            _ = runtime.envelope, runtime.results
        except ConfigError as exc:
            # A worker that cannot read the keys says so.
            _log.debug("the keys cannot be read: %s", exc)
            self.backends = None

    def planner(self, capabilities: Capabilities) -> Planner:
        """Return what plans the tasks of all workers."""
        config, runtime = self.config, self.runtime
        rules = runtime.rules(redelivers=capabilities.redelivers, extend=capabilities.extend)
        if self._planner is None or self._planner.rules != rules:
            self._planner = Planner(
                rules,
                timeout=config.timeout,
                save=runtime.save_successes,
                allowed=config.tasks_allowed,
                once=config.at_most_once,
            )
        return self._planner

    def plan_ahead(self, modules: Sequence[str]) -> None:
        """Find the functions of the first tasks that these modules have."""
        if self.backends is None:
            return
        planner = self.planner(self.backends.broker.capabilities)
        found = [vars(sys.modules[name]) for name in modules if name in sys.modules]
        # An object that is made at its first use would be made for `isinstance`.
        tasks = [one for named in found for one in named.values() if issubclass(type(one), Task)]
        for task in tasks[:_AHEAD]:
            planner.plan(task.options.head(task.name)).find_ahead()

    def connect(self) -> Backends:
        """Connect to all of them."""
        with ExitStack() as made:
            broker = self.runtime.make_broker(create=False)
            # If one does not answer, whoever tries again makes all of them anew.
            made.callback(broker.close)
            store = self.runtime.make_store(create=False)
            made.callback(store.close)
            # A worker is one thread: its coordination store may share the connection of its results.
            coordination = self.runtime.make_coordination_store(beside=store, create=False)
            made.pop_all()
        return Backends(broker, store, coordination)

"""What a worker asks of the plugin that runs tasks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.config import Config
    from qcore.journal.pages import Page
    from qcore.runtime import Runtime
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.batch import Batch
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.own_rules import OwnRules
    from qcore.workers.patience import Patience
    from qcore.workers.prefetch import Prefetch
    from qcore_process.life import Life
    from qcore_process.surroundings import Surroundings

#: the name that it is offered by
_NAME: Final = "at_once"


class Host(Protocol):
    """The worker."""

    #: whether nothing new may begin
    stopping: bool
    #: tasks that it has finished
    total: int
    #: since when it works
    life: Life

    def find(self, plan: TaskPlan) -> None:
        """Find a task's function, which may import a module of the program's."""


class Parts(NamedTuple):
    """The parts of a worker."""

    runtime: Runtime
    page: Page
    #: of the kind that the plugin has asked for
    batch: Any
    rules: OwnRules
    prefetch: Prefetch
    patience: Patience
    surroundings: Surroundings


class Sharing(Protocol):
    """Runs messages at once, from the first that asks for it until none is left."""

    #: whether every message is one of several, and whether an asynchronous one is
    always: bool
    wanted: bool

    def work(self, messages: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Run a batch and what comes after it; return a batch to run one after the other instead."""

    def interrupt(self) -> None:
        """Interrupt what is cancelled or late: called by a handler of SIGALRM."""

    def wake(self) -> None:
        """Have it notice a stop: called by a handler of SIGTERM."""

    def close(self) -> None:
        """End its threads."""


class RunsAtOnce(Protocol):
    """The plugin; the hook `qcore_task_runners` offers it."""

    @property
    def batch(self) -> type[Batch]:
        """The kind of batch that its messages need."""

    def preload(self, config: Config) -> None:
        """Import what workers will need, before they are forked.

        Raises:
            ConfigError: they cannot run messages as the configuration says.

        """

    def share(self, host: Host, parts: Parts) -> Sharing:
        """Return what runs messages at once in a worker."""


class OneByOne:
    """Runs nothing at once."""

    always = wanted = False

    def work(self, messages: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Return all of them."""
        return messages

    def interrupt(self) -> None:
        """Do nothing."""

    wake = close = interrupt


def task_runner(runtime: Runtime) -> RunsAtOnce | None:
    """Return the plugin; None if nothing is to run at once, or no `threads` ask for it and none is there.

    Raises:
        PluginError: `threads` ask for one, and no plugin offers it; the message says what to do.

    """
    config, plugins = runtime.config, runtime.plugins
    there = bool(plugins.names("qcore_task_runners"))
    if config.threads == 1 and (config.coroutines == 1 or not there):
        return None
    found: RunsAtOnce = plugins.find("qcore_task_runners", _NAME)()
    return found

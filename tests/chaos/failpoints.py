"""A broker whose workers die at a named step of the cycle, as often as a test asks."""

from __future__ import annotations

import os
import signal
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.journal.pages import Page
from qcore.tasks.execute import Executor
from qcore.workers.batch import Batch
from qcore_sqlite import broker
from qcore_sqlite.broker import SqliteBroker
from qcore_sqlite.coordination import SqliteCoordination

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import ModuleType

    from qcore.interfaces import ResultStore, Settings
    from qcore.model import Delivery, Outgoing, Settlement, StoredResult

#: environment: the step, and a folder with one file for each death still to be died
STEP: Final = "TEST_QCORE_STEP"
LIVES: Final = "TEST_QCORE_LIVES"
#: environment: keep results and messages apart, as if they were of two services
APART: Final = "TEST_QCORE_APART"

#: environment: set in the processes that may die, the workers
MORTAL: Final = "TEST_QCORE_MORTAL"

#: steps of a worker's cycle, in their order
STEPS: Final = (
    "leased",
    "held",
    "begun",
    "ran",
    "noted",
    "unsettled",
    "written",
    "saved",
    "uncommitted",
    "settled",
)
#: of these, one that only a common transaction has, and one that only two services have
TOGETHER: Final = "written"
SEPARATE: Final = "saved"
#: those of a task that may run only once, from its beginning on
ONCE_STEPS: Final = ("begun", "claimed", "marked", "unsettled", "uncommitted", "settled", "ran", "noted")
#: those of a cycle in which something follows from a result
FLOW_STEPS: Final = (
    "ran",
    "noted",
    "unsettled",
    "saved",
    "arrived",
    "enqueued",
    "continued",
    "uncommitted",
    "settled",
)


def arm(folder: Path, step: str, deaths: int) -> dict[str, str]:
    """Return the environment in which `deaths` workers die at `step`."""
    folder.mkdir()
    for number in range(deaths):
        (folder / str(number)).touch()
    return {STEP: step, LIVES: str(folder)}


def reach(step: str) -> None:
    """Die if this is the step."""
    if os.environ.get(STEP) != step or MORTAL not in os.environ:
        return
    for life in os.scandir(os.environ[LIVES]):
        try:
            os.unlink(life.path)
        except FileNotFoundError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


class DyingBroker(SqliteBroker):
    """The embedded broker, deadly before and after its calls."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.owner:
            # The supervisor writes in the place of the dead, by the same calls.
            os.environ[MORTAL] = "yes"
        if os.environ.get(APART):
            self.capabilities = attrs.evolve(self.capabilities, transaction_domain=None)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease, and perhaps die before anybody knows."""
        deliveries = super().lease(limit, wait)
        if deliveries:
            reach("leased")
        return deliveries

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Save, settle and lease, and perhaps die before or after it."""
        if store is None and settlements:
            reach("saved")
            if then:
                self.enqueue(then)
                then = ()
                reach("continued")
        deliveries = super().commit_and_lease(store, results, settlements, limit, then)
        if settlements:
            reach("settled")
        if deliveries:
            reach("leased")
        return deliveries


def _deadly(owner: type | ModuleType, name: str, step: str, *, before: bool = False) -> None:
    """Let a method of the engine be a step to die at, in processes that load this file."""
    method: Callable[..., Any] = getattr(owner, name)

    @wraps(method)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        if before:
            reach(step)
        found = method(*args, **kwargs)
        if not before:
            reach(step)
        return found

    setattr(owner, name, deadly)


if os.environ.get(STEP):
    _deadly(SqliteCoordination, "join_barrier", "arrived")
    _deadly(Page, "write_batch", "held")
    _deadly(Page, "begin", "begun")
    _deadly(SqliteCoordination, "acquire", "claimed")
    _deadly(Page, "mark_acknowledged", "marked")
    _deadly(Executor, "run", "ran")
    _deadly(Page, "add_finished", "noted")
    _deadly(Batch, "settle", "unsettled", before=True)
    # Those of `commit_and_lease` that are inside of its transaction.
    _deadly(broker, "save", "written")
    _deadly(broker, "put", "enqueued")
    _deadly(SqliteBroker, "_commit_and_lease", "uncommitted")

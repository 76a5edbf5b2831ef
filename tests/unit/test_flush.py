"""The supervisor settles for a busy worker, and never twice."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.journal.records import WorkerState
from qcore.model import Kind, Outcome
from qcore.supervision.protocol import Notice
from qcore.supervision.recovery import Recovery
from qcore.supervision.slot import Slot, WorkerExit
from tests.unit.test_batch import DONE, Bench, Refusing, empty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qcore.model import Delivery

#: seconds one thread gives the other
TIMEOUT = 45.0


def hook(result: object) -> None:
    """Stand for a hook."""


class Slow:
    """A broker whose answer to an exchange takes until it is told to go on."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reached = threading.Event()
        self.resumed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_and_lease(self, *what: Any) -> Sequence[Delivery]:
        """Exchange, and answer later."""
        found: Sequence[Delivery] = self._inner.commit_and_lease(*what)
        self.reached.set()
        assert self.resumed.wait(TIMEOUT)
        return found


def test_a_worker_that_moves_on_waits_for_the_supervisor_to_finish_settling(tmp_path: Path) -> None:
    """Otherwise both would enqueue the follow-up messages of its tasks."""
    bench = Bench(tmp_path)
    short, long = bench.take(2, hook=hook)
    bench.page.set_state(WorkerState.BUSY)
    bench.page.begin(0, 1, 0)
    bench.batch.finish(0, short, DONE)
    bench.page.begin(1, 1, 0)
    slow = Slow(bench.runtime.make_broker())
    rescuer = Recovery(bench.runtime, lambda: (slow, bench.runtime.make_store()))  # type: ignore[arg-type, return-value]  # it stands before one
    slot = Slot(0, bench.journal.page(0), [])
    slot.pid = 1

    tending = threading.Thread(target=rescuer.flush, args=(slot.page, 1, slot, slot.page.snapshot()))
    tending.start()
    assert slow.reached.wait(TIMEOUT)
    bench.batch.finish(1, long, DONE)
    bench.page.end(2, 2)
    threading.Timer(0.2, slow.resumed.set).start()
    bench.batch.settle(0)
    tending.join(TIMEOUT)

    # Whoever is given the first once more finds its end, and goes on from that.
    told = []
    other = bench.batch_with(bench.broker, bench.store)
    while found := bench.broker.lease(10, 0):
        for index, entry in enumerate(other.accept(found)):
            told.append(entry.plan.name)
            other.finish(index, entry, DONE)
        other.settle(0)
    bench.close()
    assert told == [f"{__name__}.hook"] * 2


def test_a_worker_without_a_batch_does_not_wait(tmp_path: Path) -> None:
    """It releases a message that came while its queue was paused."""
    bench = Bench(tmp_path)
    bench.app.async_task("builtins.print")
    began = time.monotonic()

    bench.batch.release(bench.broker.lease(1, 0))
    bench.batch.settle(0)

    assert time.monotonic() - began < 4
    bench.close()


def test_a_refused_settlement_of_a_dead_worker_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    """The supervisor settles the others one by one; only the refused message comes back."""
    bench = Bench(tmp_path)
    entries = bench.take(5)
    for index, entry in enumerate(entries):
        bench.page.begin(index, 1, 0)
        bench.batch.finish(index, entry, DONE)
    bench.page.end(5, 5)
    broker = Refusing(bench.runtime.make_broker(), entries[2].receipt)
    recovery = Recovery(bench.runtime, lambda: (broker, bench.runtime.make_store()))  # type: ignore[arg-type, return-value]  # it stands before one
    slot = Slot(0, bench.journal.page(0), [])

    recovery.recover(WorkerExit(slot, Notice("down", 0, 1, -9)))

    assert empty(leased=1) == bench.broker.size()
    bench.close()


@pytest.mark.parametrize("saves", [True, False])
def test_successes_that_a_dead_worker_has_not_counted_are_counted(tmp_path: Path, saves: bool) -> None:
    """A worker counts them once they are settled; failures and crashes are counted when they happen."""
    bench = Bench(tmp_path)
    entries = bench.take(5, save=saves)
    for index, entry in enumerate(entries[:3]):
        bench.page.begin(index, 1, 0)
        bench.batch.finish(index, entry, Outcome(Kind.FAILURE, error="no") if index == 1 else DONE)
    bench.page.end(3, 3)
    bench.page.begin(3, 1, 0)
    recovery = Recovery(bench.runtime, lambda: (bench.broker, bench.store))
    slot = Slot(0, bench.journal.page(0), [])

    recovery.recover(WorkerExit(slot, Notice("down", 0, 1, -9)))

    tables = (bench.page.tallies, recovery.tallies)
    by_worker, by_supervisor = (one.read()["builtins.print"].runs for one in tables)
    assert by_worker == {"failure": 1}
    assert by_supervisor == {"success": 2, "crash": 1}
    bench.close()

"""A permit is released once and not extended for an ended task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.messages.head import read_head
from qcore.supervision.renewal import keep_permits
from qcore.supervision.slot import Slot
from qcore.tasks.limits import Limiter, limit_of
from tests.unit.test_batch import Bench

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.portable


def test_a_permit_released_while_it_is_extended_stays_free(tmp_path: Path) -> None:
    """The supervisor had read that the task runs; otherwise the next one would wait for a minute."""
    bench = Bench(tmp_path)
    bench.app.task(len).using(concurrency=1).enqueue([])
    (entry,) = bench.batch.accept(bench.broker.lease(1, 0))
    gate, limit = Limiter(bench.runtime.coordination_stores), limit_of(read_head(entry.opened.head))
    assert limit is not None
    assert gate.acquire(entry.opened.id, limit) == 0.0
    long_ago = time.monotonic_ns() - 60 * 1_000_000_000
    bench.page.begin(0, long_ago, 0)
    slot = Slot(0, bench.journal.page(0), [])
    slot.pid = 1

    def late() -> Any:
        bench.page.end(1, 1)
        gate.release(entry.opened.id, limit)
        return bench.runtime.make_coordination_store()

    keep_permits([slot], late)

    assert gate.acquire(bytes(16), limit) == 0.0
    bench.close()


def test_the_permit_of_a_running_task_is_extended(tmp_path: Path) -> None:
    """It stays the task's own."""
    bench = Bench(tmp_path)
    bench.app.task(len).using(concurrency=1).enqueue([])
    (entry,) = bench.batch.accept(bench.broker.lease(1, 0))
    limit = limit_of(read_head(entry.opened.head))
    assert limit is not None
    bench.page.begin(0, time.monotonic_ns() - 60 * 1_000_000_000, 0)
    slot = Slot(0, bench.journal.page(0), [])
    slot.pid = 1

    keep_permits([slot], bench.runtime.make_coordination_store)

    assert Limiter(bench.runtime.coordination_stores).acquire(bytes(16), limit) > 0
    bench.close()

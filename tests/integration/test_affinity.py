"""`cpu_affinity` is exactly Django-Q's three tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from qcore_process.cpus import affinity
from tests.integration import tasks
from tests.integration.land import worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land


def test_four_processors_four_workers_one_each() -> None:
    """4 processors, 4 workers, cpu_affinity 1."""
    assert affinity(range(4), 4, 1) == [[0], [1], [2], [3]]


def test_four_processors_four_workers_two_each() -> None:
    """4 processors, 4 workers, cpu_affinity 2."""
    assert affinity(range(4), 4, 2) == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_eight_processors_eight_workers_three_each() -> None:
    """8 processors, 8 workers, cpu_affinity 3."""
    assert affinity(range(8), 8, 3) == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 0],
        [1, 2, 3],
        [4, 5, 6],
        [7, 0, 1],
        [2, 3, 4],
        [5, 6, 7],
    ]


@pytest.mark.parametrize("each", [0, 4, 5])
def test_number_outside_the_range_has_no_effect(each: int) -> None:
    """0, or as many as there are processors, leaves every worker alone."""
    assert affinity(range(4), 2, each) == [[], []]


@pytest.mark.skipif(len(psutil.Process().cpu_affinity()) < 2, reason="one processor cannot be shared out")
def test_workers_are_bound_to_their_processors_and_so_are_their_successors(land: Land) -> None:
    """Real workers have the affinity of their place, recycled ones too; the supervisor is left alone."""
    usable = sorted(psutil.Process().cpu_affinity())
    app, cluster = land.both(workers=2, cpu_affinity=1, recycle=1)

    first = [psutil.Process(pid).cpu_affinity() for pid in worker_pids(cluster)]
    ran = [tuple(app.enqueue(tasks.cpus).result(wait=100)) for _ in range(6)]

    assert first == [[usable[0]], [usable[1]]]
    assert set(ran) <= {(usable[0],), (usable[1],)}
    assert sorted(psutil.Process(cluster.pid).cpu_affinity()) == usable

"""Which processors a worker gets, and how its end is described."""

from __future__ import annotations

import signal

import pytest

from qcore.journal.memory import Journal
from qcore.journal.records import ExitReason, WorkerState
from qcore.supervision.protocol import Notice
from qcore.supervision.slot import Slot, WorkerExit
from qcore_process.cpus import affinity


@pytest.mark.parametrize(
    ("cpus", "workers", "each", "expected"),
    [
        # Django-Q's three tables
        (range(4), 4, 1, [[0], [1], [2], [3]]),
        (range(4), 4, 2, [[0, 1], [2, 3], [0, 1], [2, 3]]),
        (range(4), 4, 3, [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3]]),
        # as many as there are, or none asked for: left alone
        (range(4), 2, 4, [[], []]),
        (range(4), 2, 9, [[], []]),
        (range(4), 2, 0, [[], []]),
        ([], 2, 1, [[], []]),
        # processors that are not numbered through
        ([2, 5, 7], 2, 2, [[2, 5], [7, 2]]),
    ],
)
def test_processors_are_assigned_in_a_circle(
    cpus: list[int], workers: int, each: int, expected: list[list[int]]
) -> None:
    """Each worker gets the next ones."""
    assert expected == affinity(list(cpus), workers, each)


@pytest.mark.parametrize(
    ("state", "reason", "killed", "status", "cause", "death"),
    [
        (WorkerState.BUSY, ExitReason.NOT, "", -signal.SIGKILL, "crashed", "killed by SIGKILL (9), perhaps"),
        (WorkerState.BUSY, ExitReason.NOT, "", -signal.SIGSEGV, "crashed", "killed by SIGSEGV (11)"),
        (WorkerState.BUSY, ExitReason.NOT, "", -63, "crashed", "an unknown signal"),
        (WorkerState.BUSY, ExitReason.NOT, "", 0, "crashed", "exit code 0"),
        (WorkerState.BUSY, ExitReason.NOT, "", 70, "crashed", "exit code 70"),
        (WorkerState.BUSY, ExitReason.NOT, "timeout", -9, "timeout", "killed"),
        (WorkerState.BUSY, ExitReason.NOT, "stop", -9, "stopped", "killed"),
        (WorkerState.LEAVING, ExitReason.RECYCLED, "", 0, "recycled", "exit code 0"),
        (WorkerState.LEAVING, ExitReason.MEMORY, "", 0, "memory", "exit code 0"),
        (WorkerState.LEAVING, ExitReason.STOPPED, "", 0, "stopped", "exit code 0"),
        (WorkerState.LEAVING, ExitReason.RECYCLED, "", -9, "crashed", "killed"),
    ],
)
def test_the_cause_of_a_workers_end_is_known(  # noqa: PLR0917 - the columns of the table above
    state: WorkerState, reason: ExitReason, killed: str, status: int, cause: str, death: str
) -> None:
    """It follows from its last state, from who killed it, and from how its process ended."""
    journal = Journal.create(1)
    slot = Slot(0, journal.page(0), [])
    slot.page.set_state(state, reason)
    slot.killed = killed

    gone = WorkerExit(slot, Notice("down", 0, 1, status))

    assert cause == gone.cause
    assert death in gone.death
    journal.close()

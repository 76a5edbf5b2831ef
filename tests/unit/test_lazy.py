"""Attributes that are computed when they are first used."""

from __future__ import annotations

import os
from threading import Event, Thread

from qcore.lazy import cached
from qcore_testing.processes import Child


class Slow:
    """Has an attribute that takes as long as a gate is closed, in the process that made it."""

    def __init__(self) -> None:
        self.begun = Event()
        self.gate = Event()
        self._pid = os.getpid()
        self.computed = 0

    @cached
    def value(self) -> int:
        """Return the process."""
        self.computed += 1
        if os.getpid() == self._pid and self.computed == 1:
            self.begun.set()
            self.gate.wait(45)
        return os.getpid()


def test_a_child_forked_amid_a_computation_computes_by_itself() -> None:
    """It does not wait for a thread that it has not."""
    slow = Slow()
    thread = Thread(target=lambda: slow.value)
    thread.start()
    slow.begun.wait(45)
    try:
        with Child(lambda tell: tell(str(slow.value))) as child:
            assert child.line() == str(child.pid)
    finally:
        slow.gate.set()
        thread.join()


def test_a_value_is_computed_once() -> None:
    """The second look-up finds the first value."""
    slow = Slow()
    slow.gate.set()

    assert slow.value == slow.value == os.getpid()
    assert slow.computed == 1

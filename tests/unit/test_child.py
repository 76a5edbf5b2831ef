"""Processes of the contracts that stop saying anything."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable


def hangs_in_here(tell: Callable[[str], None]) -> None:
    """Say one thing and wait for ever."""
    tell("begun")
    threading.Event().wait()


def test_a_process_that_says_nothing_tells_where_it_hangs() -> None:
    """The error of a wait that took too long has the stack of the process."""
    with Child(hangs_in_here) as child:
        assert child.line() == "begun"
        child._timeout = 0.01  # no more is to come

        with pytest.raises(TimeoutError, match="in hangs_in_here"):
            child.line()


def test_a_process_does_not_finalize_what_its_parent_left() -> None:
    """Garbage of the parent stays in the child: its finalizers may wait for threads of the parent."""
    pid = os.getpid()

    class Left:
        def __del__(self) -> None:
            if os.getpid() != pid:
                threading.Event().wait()

    gc.disable()
    try:
        left: list[object] = [Left()]
        left.append(left)
        del left

        with Child(lambda tell: tell(f"collected {gc.collect() * 0}")) as child:
            assert child.line() == "collected 0"
    finally:
        gc.enable()

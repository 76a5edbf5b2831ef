"""What a worker calls before it ends."""

from __future__ import annotations

import atexit
import io
import logging
import threading
import weakref
from typing import TYPE_CHECKING

from qcore_process.exit_handlers import forget_exit_handlers, not_of_the_program, program_has_some
from qcore_process.farewell import say_farewell
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_what_was_registered_for_a_reporter_costs_no_worker_a_thread() -> None:
    """The libraries that reporters send by register something that a worker has no use for."""

    def work(tell: Callable[[str], None]) -> None:
        # Those of the test runner are none of a worker's.
        vars(logging)["_handlerList"].clear()
        logging.getLogger("quiet").addHandler(logging.NullHandler())
        forget_exit_handlers()
        with not_of_the_program():
            atexit.register(tell, "of a library")
        tell(f"has some: {program_has_some()}")
        say_farewell(0)
        atexit.register(tell, "of the program")
        tell(f"has some: {program_has_some()}")
        say_farewell(0)
        tell("end")

    with Child(work) as child:
        assert child.line() == "has some: False"
        assert child.line() == "has some: True"
        # All are called then, the last one first.
        assert [child.line() for _ in range(3)] == ["of the program", "of a library", "end"]


def test_only_a_handler_that_may_wait_costs_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has nothing of its own to flush or to close is closed at once, as are those of streams."""

    class Plain(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pass

    class Sending(Plain):
        def close(self) -> None:
            super().close()

    class Stream(io.StringIO):
        def flush(self) -> None:
            watched.append("qcore-farewell" in {one.name for one in threading.enumerate()})

    def farewell(*handlers: logging.Handler) -> None:
        watched.clear()
        monkeypatch.setitem(vars(logging), "_handlerList", [weakref.ref(one) for one in handlers])
        monkeypatch.setattr("qcore_process.farewell.program_has_some", lambda: False)
        monkeypatch.setattr("atexit._run_exitfuncs", logging.shutdown)
        say_farewell(0)

    watched: list[bool] = []
    known = (logging.NullHandler(), logging.StreamHandler(Stream()), Plain())
    farewell(*known)
    assert watched == [False]

    farewell(*known, Sending())
    assert watched == [True]

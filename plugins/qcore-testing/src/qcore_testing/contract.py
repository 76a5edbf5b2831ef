"""What all contracts share: one fixture, time to wait, other processes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Contract:
    """Tests of an interface; an implementor inherits them and overrides the fixture `make`."""

    #: seconds of the shortest lease or delay the backend can tell from none
    time_unit: ClassVar[float] = 0.25
    #: seconds anything may take that should happen at once; for a loaded machine
    patience: ClassVar[float] = 20.0
    #: seconds a clock of the backend may be off
    tolerance: ClassVar[float] = 0.05

    @pytest.fixture
    def make(self) -> Callable[..., Any]:
        """Return a function that makes what is tested; to be overridden."""
        pytest.fail(f"{type(self).__name__} must override the fixture `make`, see its docstring")

    @pytest.fixture
    def new(self, make: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
        """Return what `make` does; what it made is closed in the end."""
        made: list[Any] = []

        def new(**fields: object) -> Any:  # noqa: ANN401 - a store or broker of any kind, or a pair of them
            made.append(make(**fields))
            return made[-1]

        yield new
        for one in made:
            for interface in one if isinstance(one, tuple) else [one]:
                # serializers and reporters hold nothing
                getattr(interface, "close", bool)()

    def deadline(self) -> Iterator[float]:
        """Yield the seconds left for something that should happen, until none are."""
        end = time.monotonic() + self.patience
        while (left := end - time.monotonic()) > 0:
            yield left

    def let_pass(self, seconds: float) -> None:
        """Let time pass in which something must not happen, or another process may begin to wait."""
        threading.Event().wait(seconds)

    def child(self, work: Callable[[Callable[[str], None]], None]) -> Child:
        """Run `work(tell)` in a process of its own."""
        return Child(work, patience=self.patience)

    def kill_amid(self, child: Child, lines: int, at: float) -> list[str]:
        """Kill a process that does the same again and again; return what it sent.

        It is killed when `at` (0 to 1) of the time has passed that it takes from line to line,
        so that each step of its work is met by some `at`.
        """
        since = Stopwatch()
        # None when it has run out of work: it was faster than this process
        texts = [line for _ in range(lines) if (line := child.line()) is not None]
        self.let_pass(at * since.seconds / lines)
        child.kill()
        return texts + child.lines()


#: moments at which processes are killed, see `Contract.kill_amid`
MOMENTS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)


def skip_unless(claim: object, words: str) -> None:
    """Skip a test of something that is not claimed, saying so."""
    if not claim:
        pytest.skip(f"the capabilities say that it {words}")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since it was made."""
        return time.monotonic() - self._start

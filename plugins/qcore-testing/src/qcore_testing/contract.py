"""What all contracts share: one fixture, time to wait, other processes."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    #: a fixture `restart_server` or `freeze_server`
    Outage = Callable[[], AbstractContextManager[object]]

#: seconds between two questions of which the answer changes by itself
_PAUSE: Final = 0.01


class Contract:
    """Tests of an interface; an implementor inherits them and overrides the fixture `make`.

    A test that fails says which rule was broken and what was seen.
    """

    #: seconds of the shortest lease or delay the backend can tell from none
    time_unit: ClassVar[float] = 0.25
    #: seconds anything may take that should happen at once; for a loaded machine
    timeout: ClassVar[float] = 60.0
    #: seconds a clock of the backend may be off
    tolerance: ClassVar[float] = 0.05

    def __init_subclass__(cls, **fields: Any) -> None:
        super().__init_subclass__(**fields)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.isfunction(test) and test.__doc__:
                setattr(cls, name, _naming_its_rule(test))

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

    @pytest.fixture
    def restart_server(self) -> Outage:
        """Return what makes a context in which the server is away; afterwards it is back with its data."""
        pytest.skip(f"{type(self).__name__} has no fixture restart_server: no server can be taken away")

    @pytest.fixture
    def freeze_server(self) -> Outage:
        """Return what makes a context in which the server is there and answers nothing."""
        pytest.skip(f"{type(self).__name__} has no fixture freeze_server: no server can be made to hang")

    def at_least(self, since: Stopwatch, seconds: float) -> None:
        """See that so much time has passed."""
        passed = since.seconds
        assert passed >= seconds - self.tolerance, f"after {passed:.3f} s, not before {seconds:.3f} s"

    def soon(self, since: Stopwatch, most: float | None = None) -> None:
        """See that it did not take longer than anything may that should happen at once."""
        passed, most = since.seconds, most or self.timeout
        assert passed < most, f"it took {passed:.1f} s, not less than {most:.1f} s"

    def deadline(self) -> Iterator[float]:
        """Yield the seconds left for something that should happen, until none are."""
        end = time.monotonic() + self.timeout
        while (left := end - time.monotonic()) > 0:
            yield left

    def tries(self) -> Iterator[float]:
        """Yield them with a pause after each: who asks without one takes the processor from the server."""
        for left in self.deadline():
            yield left
            self.let_pass(_PAUSE)

    def let_pass(self, seconds: float) -> None:
        """Let time pass in which something must not happen, or another process may begin to wait."""
        threading.Event().wait(seconds)

    def child(self, work: Callable[[Callable[[str], None]], None]) -> Child:
        """Run `work(tell)` in a process of its own; each line of it is waited for a minute at least."""
        return Child(work, timeout=max(self.timeout, Contract.timeout))

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


#: names beside `kit`: one that begins like it, one that differs in a letter's case, one that is a pattern
BESIDE: Final = ("kit.2", "Kit", "k_t")


def _naming_its_rule(test: Callable[..., None]) -> Callable[..., None]:
    """Return a test whose failure has the rule that it tries, which is its docstring."""
    rule = " ".join((test.__doc__ or "").split())
    if hasattr(test, "hypothesis"):
        return test

    @functools.wraps(test)
    def named(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        try:
            test(*args, **kwargs)
        except (Exception, pytest.fail.Exception) as exc:
            exc.add_note(f"the rule: {rule}")
            raise

    return named


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

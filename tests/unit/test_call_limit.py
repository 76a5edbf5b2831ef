"""A call of several requests has one time limit, of which quick requests take nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_plugin_support import call_limit

if TYPE_CHECKING:
    from collections.abc import Sequence


class Clock:
    """A clock that a test drives."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which limits are measured."""
    made = Clock()
    monkeypatch.setattr(call_limit, "time", made)
    return made


@call_limit.each_call(lambda one: one.seconds)
class Service:
    """Makes requests that take as long as it is told."""

    seconds = 2.0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        #: what each request had left
        self.left: list[float] = []

    def ask(self, took: Sequence[float], wait: float = 0.0) -> None:
        """Make requests."""
        for one in took:
            with call_limit.within(self.seconds, wait=wait):
                self.left.append(call_limit.left())
                self.clock.now += one

    def ask_twice(self, took: Sequence[float]) -> None:
        """Make requests by another method."""
        self.ask(took)
        self.ask(took)

    def look_again(self, took: Sequence[float]) -> None:
        """Make requests, the limit anew before each."""
        for one in took:
            call_limit.again()
            self.ask([one])

    def close(self) -> float:
        """Return the limit, of which there is none."""
        return call_limit.left()


def test_quick_requests_take_nothing_of_the_limit(clock: Clock) -> None:
    """A large call to a server in good order is not cut off."""
    service = Service(clock)
    service.ask([0.25] * 50)

    assert service.left == [2.0] * 50


def test_slow_requests_share_the_limit(clock: Clock) -> None:
    """Half a second of each does not count; when nothing is left, the next is not made."""
    service = Service(clock)

    with pytest.raises(TimeoutError):
        service.ask([1.0] * 9)

    assert service.left == [2.0, 1.5, 1.0, 0.5]


def test_a_wait_in_the_server_does_not_count(clock: Clock) -> None:
    """What a request takes beyond the time that it asks the server to wait is limited."""
    service = Service(clock)
    service.ask([20.0] * 5, wait=20.0)

    assert service.left == [22.0] * 5


def test_a_method_called_by_another_is_part_of_its_call(clock: Clock) -> None:
    """It does not begin anew; the next call does."""
    service = Service(clock)
    service.ask_twice([1.0])
    service.ask([0.0])

    assert service.left == [2.0, 1.5, 2.0]


def test_who_waits_may_look_again(clock: Clock) -> None:
    """A wait of an hour, with a slow answer now and then, does not end by it."""
    service = Service(clock)
    service.look_again([1.5] * 5)

    assert service.left == [2.0] * 5


def test_a_request_outside_of_a_call_has_its_own_limit(clock: Clock) -> None:
    """Nothing is limited where no class says so."""
    service: Any = Service(clock)
    for _ in range(5):
        with call_limit.within(2.0):
            clock.now += 1.5
            assert call_limit.left() == 0.5

    assert service.close() == float("inf")

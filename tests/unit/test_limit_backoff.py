"""Tasks that wait for a permit leave room for all others."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.tasks.limits import Limit, Limiter
from qcore_process.connection_pool import ConnectionPool
from qcore_process.limit_backoff import ConcurrencyBackoff

pytestmark = pytest.mark.portable

ONE = Limit(key="a", concurrency=1)


class Clock:
    """A clock that is set."""

    now = 100.0

    def monotonic(self) -> float:
        """Return the time it is set to."""
        return self.now


class Places:
    """Notes that count how often they are asked; one place, taken or not."""

    def __init__(self) -> None:
        self.asked = 0
        self.taken = True

    def acquire(self, *_: object) -> bytes | None:
        """Count, and answer."""
        self.asked += 1
        return b"x" if self.taken else None

    def release(self, _: object) -> None:
        """Take note."""
        self.taken = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock those that wait go by."""
    clock = Clock()
    monkeypatch.setattr("qcore_process.limit_backoff.time", clock)
    monkeypatch.setattr("qcore_process.limit_backoff.random.random", lambda: 1.0)
    return clock


def test_the_store_is_asked_once_for_all_that_come_at_once(clock: Clock) -> None:
    """Five thousand that wait are five thousand looks, not five thousand transactions."""
    store: Any = Places()
    gate = Limiter(ConnectionPool(lambda **_: store, 1))

    waits = {gate.acquire(bytes(16), ONE) for _ in range(5000)}

    assert 1 == store.asked
    assert {1.0} == waits


def test_a_place_given_up_here_is_asked_for_at_once(clock: Clock) -> None:
    """The next task of the same batch may begin."""
    store: Any = Places()
    gate = Limiter(ConnectionPool(lambda **_: store, 1))
    assert gate.acquire(bytes(16), ONE) > 0

    gate.release(bytes(16), ONE)

    assert gate.acquire(bytes(16), ONE) == 0.0


def test_a_place_given_up_elsewhere_is_found_a_moment_later(clock: Clock) -> None:
    """Another worker's end cannot be seen; it is looked for again soon."""
    store: Any = Places()
    gate = Limiter(ConnectionPool(lambda **_: store, 1))
    assert gate.acquire(bytes(16), ONE) > 0
    store.taken = False

    assert gate.acquire(bytes(16), ONE) > 0
    clock.now += 0.1

    assert gate.acquire(bytes(16), ONE) == 0.0


@pytest.mark.parametrize(("waiting", "expected"), [(5, 1.0), (400, 1.0), (2000, 4.0), (100_000, 10.0)])
def test_the_more_wait_the_less_often_each_looks(clock: Clock, waiting: int, expected: float) -> None:
    """All together look some five hundred times a second; none waits longer than ten seconds."""
    concurrency = ConcurrencyBackoff()
    due = [(100.0 + number / waiting, number) for number in range(waiting)]
    for _ in range(40 if waiting <= 2000 else 3):
        due.sort()
        again = []
        for when, number in due:
            clock.now = when
            again.append((when + concurrency.wait("a", known=False), number))
        due = again

    assert concurrency.wait("a", known=False) == pytest.approx(expected, rel=0.1)


def test_when_few_are_left_they_look_often_again(clock: Clock) -> None:
    """A long wait is not kept for the next of that key."""
    concurrency = ConcurrencyBackoff()
    for _ in range(20_000):
        clock.now += 0.0001
        concurrency.wait("a", known=False)
    assert concurrency.wait("a", known=False) > 9

    for _ in range(2):
        clock.now += 5
        concurrency.wait("a", known=False)

    assert concurrency.wait("a", known=False) == 1.0


def test_a_worker_keeps_so_many_keys_in_mind_and_no_more(clock: Clock) -> None:
    """A key for each customer does not fill memory."""
    concurrency = ConcurrencyBackoff()

    for number in range(5000):
        concurrency.wait(str(number), known=False)

    assert len(concurrency._keys) <= 1000

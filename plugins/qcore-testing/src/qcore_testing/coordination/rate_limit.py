"""Rules of rate slots: a rate that many processes keep together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qcore_testing.contract import Stopwatch
from qcore_testing.coordination.base import CoordinationTests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore_testing.coordination.base import MakeCoordination

#: seconds between rate slots, longer than any test
HOUR = 3600.0


class RateLimitRules(CoordinationTests):
    """One test for each obligation of `reserve`."""

    def test_turns_have_their_distance(self, new: MakeCoordination) -> None:
        """Return the seconds until the rate slot of the holder, 0.0 if it is now.

        The first `burst` slots come at once, each later one `interval` seconds after the
        one before; what was not used counts as unused `burst`.
        """
        store, other = new(), new()

        waits = [one.reserve("rate", b"%d" % i, HOUR, 3) for i, one in enumerate([store, other] * 3)]

        assert waits[:3] == [0.0] * 3
        self.near(waits[3:], [HOUR, 2 * HOUR, 3 * HOUR])
        assert store.reserve("another", b"0", HOUR, 1) == 0.0
        self.near([store.reserve("another", b"1", HOUR, 1)], [HOUR])

    def test_what_was_not_used_counts(self, new: MakeCoordination) -> None:
        """What was not used is there at once, and no more than a burst of it.

        The first `burst` slots come at once, each later one `interval` seconds after the
        one before; what was not used counts as unused `burst`.
        """
        store = new()
        store.reserve("rate", b"first", self.time_unit, 2)
        store.reserve("rate", b"second", self.time_unit, 2)

        def after_a_pause(left: float) -> bool:
            self.let_pass(4 * self.time_unit)
            waits = [store.reserve("rate", b"%f %d" % (left, turn), self.time_unit, 2) for turn in range(3)]
            # the third is not at once, unless this machine stood still
            return waits[:2] == [0.0, 0.0] and 0.0 < waits[2] <= self.time_unit

        assert any(after_a_pause(left) for left in self.deadline())

    def test_a_holder_is_told_of_the_same_turn(self, new: MakeCoordination) -> None:
        """A holder that asks again before its slot came is given the same slot."""
        store, other = new(), new()
        holders = [b"given", b"one", b"two\0\xff"]
        waits = [store.reserve("rate", holder, HOUR, 1) for holder in holders]

        again = [one.reserve("rate", holder, HOUR, 1) for holder in holders[1:] for one in (store, other)]

        self.near(waits, [0.0, HOUR, 2 * HOUR])
        self.near(again, [HOUR, HOUR, 2 * HOUR, 2 * HOUR])
        assert again[1] <= again[0] <= waits[1]
        self.near([other.reserve("rate", b"next", HOUR, 1)], [3 * HOUR])

    def test_a_turn_comes_once(self, new: MakeCoordination) -> None:
        """A slot that was used, or not asked for again for a day, is forgotten."""
        store = new()
        assert store.reserve("rate", b"at once", self.time_unit, 1) == 0.0
        since = Stopwatch()
        assert store.reserve("rate", b"soon", 2 * self.time_unit, 1) > 0.0
        self.near([store.reserve("rate", b"another", HOUR, 1)], [HOUR])

        assert any(store.reserve("rate", b"soon", HOUR, 1) == 0.0 for _ in self.tries())

        self.at_least(since, 2 * self.time_unit)
        # a holder that was given a rate slot waits like every other
        self.near([store.reserve("rate", b"soon", HOUR, 1)], [2 * HOUR])
        self.near([store.reserve("rate", b"at once", HOUR, 1)], [3 * HOUR])

    def test_many_that_ask_at_once_have_turns_of_their_own(self, new: MakeCoordination) -> None:
        """The first begin at once, and each of the rest another rate slot.

        The first `burst` slots come at once, each later one `interval` seconds after the
        one before; what was not used counts as unused `burst`.
        """

        def ask(store: CoordinationStore, number: int) -> list[str]:
            holders = [b"%d %d" % (number, turn) for turn in range(10)]
            return [str(time.monotonic() + store.reserve("rate", holder, HOUR, 5)) for holder in holders]

        start = time.monotonic()
        turns = sorted(float(line) - start for line in self.in_processes(new, 4, ask))

        self.near(turns, [*[0.0] * 5, *[HOUR * number for number in range(1, 36)]])

    def near(self, actual: Sequence[float], expected: Sequence[float]) -> None:
        """See that these are the seconds, but for what the calls themselves took."""
        assert len(actual) == len(expected)
        assert all(abs(one - other) < 3 * self.timeout for one, other in zip(actual, expected, strict=True))

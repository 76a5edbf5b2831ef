"""Rules of marks and places: what is kept, and who holds it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from qcore.coordination import BarrierMember
from qcore_testing.contract import Stopwatch, skip_unless
from qcore_testing.coordination.base import CoordinationTests

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore_testing.results.base import MakeStore

#: as long as a key may be, and of any letters
KEY = "limit:\N{SNOWMAN}'; --:" + "k" * 386


class PermitRules(CoordinationTests):
    """One test for each obligation of `put`, `look`, `acquire` and `release`."""

    def test_notes_survive_whoever_made_them(self, new: MakeStore) -> None:
        """When a call returns, what it changed survives the death of the calling process."""
        self.notes(new)
        skip_unless(new().processes, "is not seen by other processes")

        def work(tell: Callable[[str], None]) -> None:
            notes = self.notes(new)
            notes.set_flag("mark", b"kept", 600.0)
            notes.acquire("place", b"dead", 1, 600.0)
            notes.reserve("turn", b"dead", 600.0, 1)
            notes.join_barrier([BarrierMember("gathering", 0, b"brought")], 600.0)
            tell("noted")
            signal.pause()

        with self.child(work) as child:
            assert child.line() == "noted"
            child.kill()

        notes = self.notes(new)
        assert list(notes.get_flags(["mark"])) == [b"kept"]
        assert notes.acquire("place", b"next", 1, 600.0) == b"dead"
        assert notes.reserve("turn", b"next", 600.0, 1) > 0
        assert notes.barrier_members("gathering") == {0: b"brought"}

    # -- marks ------------------------------------------------------------------------------

    def test_a_mark_is_kept(self, new: MakeStore) -> None:
        """Keep a value for `ttl` seconds in the place of an earlier one; b"" removes it."""
        notes, other = self.notes(new), self.notes(new)
        notes.set_flag(KEY, b"first", 600.0)
        notes.set_flag(KEY, bytes(range(256)), 600.0)
        notes.set_flag("removed", b"here", 600.0)
        notes.set_flag("removed", b"", 600.0)
        notes.set_flag("never there", b"", 600.0)

        assert [bytes(range(256)), None, None] == list(other.get_flags([KEY, "removed", "never there"]))

    def test_marks_come_in_the_order_asked_for(self, new: MakeStore) -> None:
        """Return values in the order of `keys`, None where there is none."""
        notes = self.notes(new)
        for key in "abc":
            notes.set_flag(key, key.encode(), 600.0)

        assert list(notes.get_flags(["c", "unknown", "a", "c"])) == [b"c", None, b"a", b"c"]
        assert list(notes.get_flags([])) == []

    def test_a_mark_is_forgotten_in_time(self, new: MakeStore) -> None:
        """What is past its time is as if it had never been."""
        notes = self.notes(new)
        since = Stopwatch()
        notes.set_flag("short", b"short", 2 * self.time_unit)
        notes.set_flag("long", b"long", 600.0)
        notes.set_flag("prolonged", b"short", self.time_unit)
        notes.set_flag("prolonged", b"long", 600.0)

        assert any(
            list(notes.get_flags(["short", "long", "prolonged"])) == [None, b"long", b"long"]
            for _ in self.deadline()
        )
        assert since.seconds >= 2 * self.time_unit - self.tolerance

    # -- places -----------------------------------------------------------------------------

    def test_places_are_taken_until_there_are_none(self, new: MakeStore) -> None:
        """Take one of `limit` places for `ttl` seconds.

        The holder returned is the one that came first.
        """
        notes, other = self.notes(new), self.notes(new)

        assert notes.acquire(KEY, b"\0first\xff", 2, 600.0) is None
        assert other.acquire(KEY, b"second", 2, 600.0) is None
        # it asks again and is still the first
        assert notes.acquire(KEY, b"\0first\xff", 2, 600.0) is None
        assert other.acquire(KEY, b"third", 2, 600.0) == b"\0first\xff"
        assert other.acquire("another key", b"third", 1, 600.0) is None

        other.release([(KEY, b"\0first\xff")])
        assert other.acquire(KEY, b"third", 2, 600.0) is None
        assert other.acquire(KEY, b"\0first\xff", 2, 600.0) == b"second"

    def test_a_holder_keeps_its_place(self, new: MakeStore) -> None:
        """A holder that asks again keeps its place for `ttl` seconds from now."""
        notes = self.notes(new)
        notes.acquire("longer", b"one", 1, 2 * self.time_unit)
        assert notes.acquire("longer", b"one", 1, 600.0) is None
        notes.acquire("shorter", b"one", 1, 600.0)
        since = Stopwatch()
        assert notes.acquire("shorter", b"one", 1, 2 * self.time_unit) is None
        notes.acquire("fewer", b"one", 2, 600.0)
        notes.acquire("fewer", b"two", 2, 600.0)

        assert notes.acquire("fewer", b"two", 1, 600.0) is None
        assert any(notes.acquire("shorter", b"two", 1, 600.0) is None for _ in self.deadline())
        assert since.seconds >= 2 * self.time_unit - self.tolerance
        assert notes.acquire("longer", b"two", 1, 600.0) == b"one"

    def test_an_outlived_place_is_free(self, new: MakeStore) -> None:
        """What is past its time is as if it had never been."""
        notes, other = self.notes(new), self.notes(new)
        since = Stopwatch()
        notes.acquire("lock", b"dead", 1, 2 * self.time_unit)

        assert other.acquire("lock", b"next", 1, 600.0) == b"dead"
        assert any(other.acquire("lock", b"next", 1, 600.0) is None for _ in self.deadline())

        assert since.seconds >= 2 * self.time_unit - self.tolerance
        assert notes.acquire("lock", b"dead", 1, 600.0) == b"next"
        notes.release([("lock", b"dead")])
        assert notes.acquire("lock", b"dead", 1, 600.0) == b"next"

    def test_released_places_are_free(self, new: MakeStore) -> None:
        """Give places up: keys and holders; what is not held is passed over."""
        notes, other = self.notes(new), self.notes(new)
        for key in ("one", "two", "three"):
            notes.acquire(key, b"me", 1, 600.0)

        other.release([("one", b"me"), ("two", b"another"), ("unknown", b"me"), ("three", b"me")])
        other.release([])

        assert [notes.acquire(key, b"next", 1, 600.0) for key in ("one", "two", "three")] == [
            None,
            b"me",
            None,
        ]

    def test_of_many_that_ask_at_once_only_so_many_are_let_in(self, new: MakeStore) -> None:
        """Of any number of processes that ask at once at most `limit` are given a place."""

        def ask(notes: CoordinationStore, number: int) -> list[str]:
            holder = b"%d" % number
            return [str(key) for key in range(30) if notes.acquire(str(key), holder, 2, 600.0) is None]

        told = self.crowd(new, 5, ask)

        assert Counter(told) == {str(key): 2 for key in range(30)}

    def test_no_more_are_inside_at_any_moment(self, new: MakeStore) -> None:
        """Of any number of processes that ask at once at most `limit` are given a place."""

        def come_and_go(notes: CoordinationStore, number: int) -> list[str]:
            holder = b"%d" % number
            stays: list[str] = []
            while len(stays) < 15:
                if notes.acquire("door", holder, 2, 600.0) is None:
                    since = time.monotonic()
                    self.let_pass(self.time_unit / 50)
                    stays.append(f"{since} {time.monotonic()}")
                    notes.release([("door", holder)])
            return stays

        told = self.crowd(new, 4, come_and_go)

        moves = [(float(at), step) for line in told for at, step in zip(line.split(), (1, -1), strict=True)]
        inside = most = 0
        for _, step in sorted(moves):
            inside += step
            most = max(most, inside)
        assert len(told) == 60
        assert most <= 2

"""Rules of gatherings: the last member to come knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.notes import Arrival
from qcore.testing.contract import MOMENTS, Stopwatch, needs
from qcore.testing.results.notes import NotesBench

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.notes import Notes
    from qcore.testing.results.bench import MakeStore


class GatheringRules(NotesBench):
    """One test for each obligation of `arrive`, `gathered` and `disband`."""

    def test_members_are_counted(self, new: MakeStore) -> None:
        """Note that members have come; return for each how many its gathering has by then.

        A member that comes again is counted once; what it brought first is kept.
        """
        notes, other = self.notes(new), self.notes(new)

        assert list(notes.arrive([Arrival("g", 3, b"three")], 600.0)) == [1]
        assert list(other.arrive([Arrival("g", 0, b"nought"), Arrival("h", 0)], 600.0)) == [2, 1]
        assert list(notes.arrive([Arrival("g", 3, b"again")], 600.0)) == [2]
        assert list(other.arrive([Arrival("g", 1, b"one")], 600.0)) == [3]
        assert list(notes.arrive([], 600.0)) == []

        assert dict(notes.gathered("g")) == {0: b"nought", 1: b"one", 3: b"three"}

    def test_what_they_brought_is_returned(self, new: MakeStore) -> None:
        """Return what the members of a gathering brought, by index."""
        brought = {number: bytes([number]) * 1000 * number for number in range(100)}
        notes = self.notes(new)

        notes.arrive([Arrival("big'; --\N{SNOWMAN}", *item) for item in brought.items()], 600.0)

        assert brought == dict(self.notes(new).gathered("big'; --\N{SNOWMAN}"))
        assert dict(notes.gathered("unknown")) == {}

    def test_the_last_of_one_call_knows(self, new: MakeStore) -> None:
        """Of several members that come at once, the last is told the full number."""
        notes = self.notes(new)
        notes.arrive([Arrival("g", 0)], 600.0)

        counts = notes.arrive([Arrival("g", number) for number in (1, 2, 2, 0, 3)], 600.0)

        assert len(counts) == 5
        assert max(counts) == 4
        assert counts[-1] == 4

    def test_the_last_of_many_processes_knows(self, new: MakeStore) -> None:
        """Of several members that come at once, the last is told the full number."""

        def come(notes: Notes, number: int) -> list[str]:
            members = range(number, 100, 4)
            return [str(*notes.arrive([Arrival("g", member, b"%d" % member)], 600.0)) for member in members]

        told = self.crowd(new, 4, come)

        assert list(range(1, 101)) == sorted(map(int, told))
        assert dict(self.notes(new).gathered("g")) == {number: b"%d" % number for number in range(100)}

    def test_members_come_once_however_many_say_so(self, new: MakeStore) -> None:
        """A member that comes again is counted once; what it brought first is kept."""

        def come(notes: Notes, number: int) -> list[str]:
            name = b"%d" % number
            return [str(*notes.arrive([Arrival("g", member, name)], 600.0)) for member in range(30)]

        told = self.crowd(new, 4, come)

        notes = self.notes(new)
        assert max(map(int, told)) == 30
        assert len(notes.gathered("g")) == 30
        assert list(notes.arrive([Arrival("g", 30)], 600.0)) == [31]

    def test_an_outlived_gathering_is_forgotten(self, new: MakeStore) -> None:
        """The gathering is forgotten `ttl` seconds after the last arrival."""
        notes = self.notes(new)
        notes.arrive([Arrival("short", 0), Arrival("long", 0)], 2 * self.tick)
        notes.arrive([Arrival("long", 1)], 600.0)
        since = Stopwatch()
        notes.arrive([Arrival("short", 1)], 2 * self.tick)

        assert any(not notes.gathered("short") for _ in self.deadline())

        assert since.seconds >= 2 * self.tick - self.tolerance
        assert list(notes.arrive([Arrival("short", 0, b"anew")], 600.0)) == [1]
        assert dict(notes.gathered("short")) == {0: b"anew"}
        assert len(notes.gathered("long")) == 2

    def test_a_gathering_lasts_from_its_last_arrival(self, new: MakeStore) -> None:
        """The gathering is forgotten `ttl` seconds after the last arrival."""
        notes = self.notes(new)
        notes.arrive([Arrival("g", 0)], self.tick)
        notes.arrive([Arrival("g", 1)], 600.0)
        self.let_pass(3 * self.tick)

        assert len(notes.gathered("g")) == 2

    def test_a_disbanded_gathering_is_forgotten(self, new: MakeStore) -> None:
        """Forget gatherings; an unknown one is passed over."""
        notes, other = self.notes(new), self.notes(new)
        notes.arrive([Arrival(key, number) for key in ("one", "two", "three") for number in range(3)], 600.0)

        other.disband(["one", "unknown", "three"])
        other.disband([])

        assert [len(notes.gathered(key)) for key in ("one", "two", "three")] == [0, 3, 0]
        assert list(notes.arrive([Arrival("one", 0, b"anew")], 600.0)) == [1]

    def test_a_call_is_done_whole_or_not_at_all(self, new: MakeStore) -> None:
        """When a call returns, what it changed survives the death of the calling process.

        One that was killed amid a call leaves all of it or nothing.
        """
        self.notes(new)
        needs(new().processes, "is not seen by other processes")

        def work(tell: Callable[[str], None]) -> None:
            notes = self.notes(new)
            for start in range(0, 100_000, 10):
                members = [Arrival("g", start + number, b"x" * 500) for number in range(10)]
                tell(str(notes.arrive(members, 600.0)[-1]))

        for at in MOMENTS:
            self.notes(new).disband(["g"])
            with self.child(work) as child:
                told = self.kill_amid(child, 5, at)
            notes = self.notes(new)
            there = len(notes.gathered("g"))
            assert there % 10 == 0
            assert there >= 10 * len(told)
            # the count is in step with the members
            assert list(notes.arrive([Arrival("g", 100_000)], 600.0)) == [there + 1]

"""Rules of fan-in barriers: the last member to join learns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.coordination import BarrierMember
from qcore_testing.contract import MOMENTS, Stopwatch, skip_unless
from qcore_testing.coordination.base import CoordinationTests

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore_testing.coordination.base import MakeCoordination


class BarrierRules(CoordinationTests):
    """One test for each obligation of `arrive`, `gathered` and `delete_barriers`."""

    def test_members_are_counted(self, new: MakeCoordination) -> None:
        """Record that members have come; return for each how many its barrier has by then.

        A member that comes again is counted once; what it brought first is kept.
        """
        store, other = new(), new()

        assert list(store.join_barrier([BarrierMember("g", 3, b"three")], 600.0)) == [1]
        assert list(other.join_barrier([BarrierMember("g", 0, b"nought"), BarrierMember("h", 0)], 600.0)) == [
            2,
            1,
        ]
        assert list(store.join_barrier([BarrierMember("g", 3, b"again")], 600.0)) == [2]
        assert list(other.join_barrier([BarrierMember("g", 1, b"one")], 600.0)) == [3]
        assert list(store.join_barrier([], 600.0)) == []

        assert dict(store.barrier_members("g")) == {0: b"nought", 1: b"one", 3: b"three"}

    def test_what_they_brought_is_returned(self, new: MakeCoordination) -> None:
        """Return what the members of a barrier brought, by index."""
        brought = {number: bytes([number]) * 1000 * number for number in range(100)}
        store = new()

        store.join_barrier([BarrierMember("big'; --\N{SNOWMAN}", *item) for item in brought.items()], 600.0)

        assert brought == dict(new().barrier_members("big'; --\N{SNOWMAN}"))
        assert dict(store.barrier_members("unknown")) == {}

    def test_the_last_of_one_call_knows(self, new: MakeCoordination) -> None:
        """Of several members that come at once, the last gets the full number."""
        store = new()
        store.join_barrier([BarrierMember("g", 0)], 600.0)

        counts = store.join_barrier([BarrierMember("g", number) for number in (1, 2, 2, 0, 3)], 600.0)

        assert len(counts) == 5
        assert max(counts) == 4
        assert counts[-1] == 4

    def test_the_last_of_many_processes_knows(self, new: MakeCoordination) -> None:
        """Of several members that come at once, the last gets the full number."""

        def come(store: CoordinationStore, number: int) -> list[str]:
            members = range(number, 100, 4)
            return [
                str(*store.join_barrier([BarrierMember("g", member, b"%d" % member)], 600.0))
                for member in members
            ]

        texts = self.in_processes(new, 4, come)

        assert list(range(1, 101)) == sorted(map(int, texts))
        assert dict(new().barrier_members("g")) == {number: b"%d" % number for number in range(100)}

    def test_members_come_once_however_many_say_so(self, new: MakeCoordination) -> None:
        """A member that comes again is counted once; what it brought first is kept."""

        def come(store: CoordinationStore, number: int) -> list[str]:
            name = b"%d" % number
            return [
                str(*store.join_barrier([BarrierMember("g", member, name)], 600.0)) for member in range(30)
            ]

        texts = self.in_processes(new, 4, come)

        store = new()
        assert max(map(int, texts)) == 30
        assert len(store.barrier_members("g")) == 30
        assert list(store.join_barrier([BarrierMember("g", 30)], 600.0)) == [31]

    def test_an_expired_barrier_is_forgotten(self, new: MakeCoordination) -> None:
        """The barrier is forgotten `ttl` seconds after the last arrival."""
        store = new()
        store.join_barrier([BarrierMember("short", 0), BarrierMember("long", 0)], 2 * self.time_unit)
        store.join_barrier([BarrierMember("long", 1)], 600.0)
        since = Stopwatch()
        store.join_barrier([BarrierMember("short", 1)], 2 * self.time_unit)

        assert any(not store.barrier_members("short") for _ in self.tries())

        self.at_least(since, 2 * self.time_unit)
        assert list(store.join_barrier([BarrierMember("short", 0, b"anew")], 600.0)) == [1]
        assert dict(store.barrier_members("short")) == {0: b"anew"}
        assert len(store.barrier_members("long")) == 2

    def test_a_barrier_lasts_from_its_last_arrival(self, new: MakeCoordination) -> None:
        """The barrier is forgotten `ttl` seconds after the last arrival."""
        store, unit = new(), self.time_unit
        while True:
            since = Stopwatch()
            store.join_barrier([BarrierMember("g", 0)], unit)
            store.join_barrier([BarrierMember("g", 1)], 600.0)
            if since.seconds < unit / 2:
                break
            # On a machine as busy as this the first may be forgotten already.
            store.delete_barriers(["g"])
            unit *= 2
        self.let_pass(3 * unit)

        assert len(store.barrier_members("g")) == 2

    def test_a_cleared_barrier_is_forgotten(self, new: MakeCoordination) -> None:
        """Forget barriers; an unknown one is ignored."""
        store, other = new(), new()
        store.join_barrier(
            [BarrierMember(key, number) for key in ("one", "two", "three") for number in range(3)], 600.0
        )

        other.delete_barriers(["one", "unknown", "three"])
        other.delete_barriers([])

        assert [len(store.barrier_members(key)) for key in ("one", "two", "three")] == [0, 3, 0]
        assert list(store.join_barrier([BarrierMember("one", 0, b"anew")], 600.0)) == [1]

    def test_a_call_is_done_whole_or_not_at_all(self, new: MakeCoordination) -> None:
        """When a call returns, what it changed survives the death of the calling process.

        One that was killed amid a call leaves all of it or nothing.
        """
        new()
        skip_unless(new().cross_process, "is not seen by other processes")

        def work(send: Callable[[str], None]) -> None:
            store = new()
            for start in range(0, 100_000, 10):
                members = [BarrierMember("g", start + number, b"x" * 500) for number in range(10)]
                send(str(store.join_barrier(members, 600.0)[-1]))

        for at in MOMENTS:
            new().delete_barriers(["g"])
            with self.child(work) as child:
                texts = self.kill_amid(child, 5, at)
            store = new()
            there = len(store.barrier_members("g"))
            assert there % 10 == 0
            assert there >= 10 * len(texts)
            # the count is in step with the members
            assert list(store.join_barrier([BarrierMember("g", 100_000)], 600.0)) == [there + 1]

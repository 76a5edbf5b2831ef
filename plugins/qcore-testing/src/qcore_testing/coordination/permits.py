"""Rules of marks and places: what is kept, and who holds it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from qcore.coordination import BarrierMember
from qcore_testing.contract import BESIDE, Stopwatch, skip_unless
from qcore_testing.coordination.base import CoordinationTests

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore_testing.coordination.base import MakeCoordination

#: as long as a key may be, and of any letters
KEY = "limit:\N{SNOWMAN}'; --:" + "k" * 386


class PermitRules(CoordinationTests):
    """One test for each obligation of `set_flag`, `set_flags`, `get_flags`, `acquire` and `release`."""

    def test_a_fork_sets_flags_too(self, new: MakeCoordination) -> None:
        """Serve a process that was forked from the one that made it, as `Broker.after_fork` does."""
        store = new()
        store.set_flag("one", b"1", 600.0)
        if not store.after_fork(b""):
            pytest.skip("it cannot serve another process")

        def work(send: Callable[[str], None]) -> None:
            assert store.after_fork(b"f" * 16)
            store.set_flag("two", b"2", 600.0)
            send("set")

        with self.child(work) as child:
            assert child.line() == "set"
            assert child.join() == 0

        assert list(store.get_flags(["one", "two"])) == [b"1", b"2"]

    def test_notes_survive_whoever_made_them(self, new: MakeCoordination) -> None:
        """When a call returns, what it changed survives the death of the calling process."""
        skip_unless(new().cross_process, "is not seen by other processes")

        def work(send: Callable[[str], None]) -> None:
            store = new()
            store.set_flag("mark", b"kept", 600.0)
            store.acquire("place", b"dead", 1, 600.0)
            store.reserve("turn", b"dead", 600.0, 1)
            store.join_barrier([BarrierMember("barrier", 0, b"brought")], 600.0)
            send("noted")
            signal.pause()

        with self.child(work) as child:
            assert child.line() == "noted"
            child.kill()

        store = new()
        assert list(store.get_flags(["mark"])) == [b"kept"]
        assert store.acquire("place", b"next", 1, 600.0) == b"dead"
        assert store.reserve("turn", b"next", 600.0, 1) > 0
        assert store.barrier_members("barrier") == {0: b"brought"}

    def test_everything_is_removed_or_nothing(self, new: MakeCoordination) -> None:
        """Remove everything; return False if that cannot be done, because it expires by itself."""
        store, other = new(), new()
        store.set_flag("flag", b"kept", 600.0)
        store.acquire("permit", b"first", 1, 600.0)
        store.join_barrier([BarrierMember("barrier", 0, b"brought")], 600.0)

        cleared = other.clear()

        assert list(store.get_flags(["flag"])) == [None if cleared else b"kept"]
        assert store.acquire("permit", b"next", 1, 600.0) == (None if cleared else b"first")
        assert store.barrier_members("barrier") == ({} if cleared else {0: b"brought"})

    # -- marks ------------------------------------------------------------------------------

    def test_a_mark_is_kept(self, new: MakeCoordination) -> None:
        """Keep a value for `ttl` seconds in the place of an earlier one; b"" removes it."""
        store, other = new(), new()
        store.set_flag(KEY, b"first", 600.0)
        store.set_flag(KEY, bytes(range(256)), 600.0)
        store.set_flag("removed", b"here", 600.0)
        store.set_flag("removed", b"", 600.0)
        store.set_flag("never there", b"", 600.0)

        assert [bytes(range(256)), None, None] == list(other.get_flags([KEY, "removed", "never there"]))

    def test_several_marks_are_kept_at_once(self, new: MakeCoordination) -> None:
        """Keep values by key, as `set_flag` does each."""
        store, other = new(), new()
        store.set_flag("old", b"old", 600.0)
        store.set_flags({}, 600.0)
        store.set_flags({"old": b"", "first": b"1", KEY: bytes(range(256)), "never there": b""}, 600.0)
        store.set_flags({"first": b"2"}, 600.0)

        keys = ["old", "first", KEY, "never there"]
        assert list(other.get_flags(keys)) == [None, b"2", bytes(range(256)), None]

    @pytest.mark.parametrize("name", BESIDE)
    def test_two_queues_share_no_state(self, new: MakeCoordination, name: str) -> None:
        """A store keeps the state of the queue that `Settings.name` names, and touches no others."""
        ours, theirs = new(), new(name=name)
        theirs.set_flag("key", b"theirs", 600.0)
        assert theirs.acquire("key", b"holder", 1, 600.0) is None
        assert theirs.reserve("key", b"holder", 600.0, 1) == 0.0
        assert list(theirs.join_barrier([BarrierMember("key", 0, b"theirs")], 600.0)) == [1]

        assert list(ours.get_flags(["key"])) == [None], f"flags of {name} are seen in kit"
        assert ours.acquire("key", b"another", 1, 600.0) is None
        assert ours.reserve("key", b"another", 600.0, 1) == 0.0
        assert dict(ours.barrier_members("key")) == {}

        ours.set_flag("key", b"", 600.0)
        ours.release([("key", b"holder")])
        ours.delete_barriers(["key"])
        assert list(theirs.get_flags(["key"])) == [b"theirs"]
        assert theirs.acquire("key", b"another", 1, 600.0) == b"holder"
        assert dict(theirs.barrier_members("key")) == {0: b"theirs"}

    def test_marks_come_in_the_order_asked_for(self, new: MakeCoordination) -> None:
        """Return values in the order of `keys`, None where there is none."""
        store = new()
        for key in "abc":
            store.set_flag(key, key.encode(), 600.0)

        assert list(store.get_flags(["c", "unknown", "a", "c"])) == [b"c", None, b"a", b"c"]
        assert list(store.get_flags([])) == []

    def test_a_mark_is_forgotten_in_time(self, new: MakeCoordination) -> None:
        """What is past its time is as if it had never been."""
        store = new()
        since = Stopwatch()
        store.set_flag("short", b"short", 2 * self.time_unit)
        store.set_flag("long", b"long", 600.0)
        store.set_flag("prolonged", b"short", self.time_unit)
        store.set_flag("prolonged", b"long", 600.0)

        assert any(
            list(store.get_flags(["short", "long", "prolonged"])) == [None, b"long", b"long"]
            for _ in self.tries()
        )
        self.at_least(since, 2 * self.time_unit)

    def test_prune_leaves_what_has_not_expired(self, new: MakeCoordination) -> None:
        """Remove what has expired, where the backend does not do so by itself; the default is nothing."""
        store = new()
        store.set_flag("short", b"short", self.time_unit)
        store.set_flag("long", b"long", 600.0)
        store.acquire("lock", b"me", 1, 600.0)
        store.join_barrier([BarrierMember("g", 0, b"brought")], 600.0)
        assert any(list(store.get_flags(["short"])) == [None] for _ in self.tries())

        store.prune()

        assert list(store.get_flags(["short", "long"])) == [None, b"long"]
        assert store.acquire("lock", b"next", 1, 600.0) == b"me"
        assert dict(store.barrier_members("g")) == {0: b"brought"}

    def test_closing_twice_is_harmless(self, new: MakeCoordination) -> None:
        """Close connections; calling it twice is harmless."""
        store, other = new(), new()
        store.set_flag("mark", b"kept", 600.0)

        store.close()
        store.close()

        assert list(other.get_flags(["mark"])) == [b"kept"]

    # -- places -----------------------------------------------------------------------------

    def test_places_are_taken_until_there_are_none(self, new: MakeCoordination) -> None:
        """Take one of `limit` permits for `ttl` seconds.

        The holder returned is the one that came first.
        """
        store, other = new(), new()

        assert store.acquire(KEY, b"\0first\xff", 2, 600.0) is None
        assert other.acquire(KEY, b"second", 2, 600.0) is None
        # it asks again and is still the first
        assert store.acquire(KEY, b"\0first\xff", 2, 600.0) is None
        assert other.acquire(KEY, b"third", 2, 600.0) == b"\0first\xff"
        assert other.acquire("another key", b"third", 1, 600.0) is None

        other.release([(KEY, b"\0first\xff")])
        assert other.acquire(KEY, b"third", 2, 600.0) is None
        assert other.acquire(KEY, b"\0first\xff", 2, 600.0) == b"second"

    def test_a_holder_keeps_its_place(self, new: MakeCoordination) -> None:
        """A holder that asks again keeps its permit for `ttl` seconds from now."""
        store = new()
        store.acquire("longer", b"one", 1, 2 * self.time_unit)
        assert store.acquire("longer", b"one", 1, 600.0) is None
        store.acquire("shorter", b"one", 1, 600.0)
        since = Stopwatch()
        assert store.acquire("shorter", b"one", 1, 2 * self.time_unit) is None
        store.acquire("fewer", b"one", 2, 600.0)
        store.acquire("fewer", b"two", 2, 600.0)

        assert store.acquire("fewer", b"two", 1, 600.0) is None
        assert any(store.acquire("shorter", b"two", 1, 600.0) is None for _ in self.tries())
        self.at_least(since, 2 * self.time_unit)
        assert store.acquire("longer", b"two", 1, 600.0) == b"one"

    def test_an_expired_permit_is_free(self, new: MakeCoordination) -> None:
        """What is past its time is as if it had never been."""
        store, other = new(), new()
        since = Stopwatch()
        store.acquire("lock", b"dead", 1, 2 * self.time_unit)

        assert other.acquire("lock", b"next", 1, 600.0) == b"dead"
        assert any(other.acquire("lock", b"next", 1, 600.0) is None for _ in self.tries())

        self.at_least(since, 2 * self.time_unit)
        assert store.acquire("lock", b"dead", 1, 600.0) == b"next"
        store.release([("lock", b"dead")])
        assert store.acquire("lock", b"dead", 1, 600.0) == b"next"

    def test_released_places_are_free(self, new: MakeCoordination) -> None:
        """Give permits back: keys and holders; what is not held is ignored."""
        store, other = new(), new()
        for key in ("one", "two", "three"):
            store.acquire(key, b"me", 1, 600.0)

        other.release([("one", b"me"), ("two", b"another"), ("unknown", b"me"), ("three", b"me")])
        other.release([])

        assert [store.acquire(key, b"next", 1, 600.0) for key in ("one", "two", "three")] == [
            None,
            b"me",
            None,
        ]

    def test_of_many_that_ask_at_once_only_so_many_are_let_in(self, new: MakeCoordination) -> None:
        """Of any number of processes that ask at once at most `limit` are given a permit."""

        def ask(store: CoordinationStore, number: int) -> list[str]:
            holder = b"%d" % number
            return [str(key) for key in range(30) if store.acquire(str(key), holder, 2, 600.0) is None]

        texts = self.in_processes(new, 5, ask)

        assert Counter(texts) == {str(key): 2 for key in range(30)}

    def test_no_more_are_inside_at_any_moment(self, new: MakeCoordination) -> None:
        """Of any number of processes that ask at once at most `limit` are given a permit."""

        def come_and_go(store: CoordinationStore, number: int) -> list[str]:
            holder = b"%d" % number
            stays: list[str] = []
            while len(stays) < 15:
                if store.acquire("door", holder, 2, 600.0) is None:
                    since = time.monotonic()
                    self.let_pass(self.time_unit / 50)
                    stays.append(f"{since} {time.monotonic()}")
                    store.release([("door", holder)])
                else:
                    self.let_pass(self.time_unit / 250)
            return stays

        texts = self.in_processes(new, 4, come_and_go)

        moves = [(float(at), step) for line in texts for at, step in zip(line.split(), (1, -1), strict=True)]
        inside = most = 0
        for _, step in sorted(moves):
            inside += step
            most = max(most, inside)
        assert len(texts) == 60
        assert most <= 2

"""Notes in SQLite and in memory give the same answers to the same calls."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from qcore.coordination import BarrierMember
from qcore_sqlite import coordination, make_results
from qcore_testing.memory.coordination import MemoryCoordination
from tests.unit.sqlite_base import settings_for

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.sampled_from(["a", "b"])
HOLDERS = st.sampled_from([b"1", b"2", b"3", b"4"])
#: whole seconds, so that no answer hangs on the last bit of a number
SECONDS = st.sampled_from([1.0, 2.0, 5.0])
ARRIVALS = st.lists(
    st.builds(BarrierMember, KEYS, st.integers(0, 5), st.sampled_from([b"", b"x", b"y"])), max_size=4
)


class Both(RuleBasedStateMachine):
    """Whatever is asked of both is answered by both in the same way."""

    place: Path

    def __init__(self) -> None:
        super().__init__()
        for end in ("", "-wal", "-shm", "-work", "-done"):
            self.place.with_name(self.place.name + end).unlink(missing_ok=True)
        self.now = 1_000_000.0
        self.memory = MemoryCoordination(lambda: self.now)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(coordination, "time", types.SimpleNamespace(time=lambda: self.now))
        self.store = make_results(settings_for(self.place))
        self.sqlite = self.store.notes

    def teardown(self) -> None:
        """Close the file and give the clock back."""
        self.store.close()
        self.patch.undo()

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 50_000.0]))
    def let_pass(self, seconds: float) -> None:
        """Let time pass for both."""
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        """Clear away what is outlived, which nobody notices."""
        self.memory.sweep()
        self.sqlite.sweep()

    @rule(key=KEYS, value=st.sampled_from([b"", b"x", b"y"]), ttl=SECONDS)
    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a mark and look at all."""
        self.memory.set_flag(key, value, ttl)
        self.sqlite.set_flag(key, value, ttl)

    @rule(keys=st.lists(KEYS, max_size=3))
    def look(self, keys: list[str]) -> None:
        """Look at some marks."""
        assert self.memory.get_flags(keys) == self.sqlite.get_flags(keys)

    @rule(key=KEYS, holder=HOLDERS, limit=st.integers(0, 3), ttl=SECONDS)
    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> None:
        """Take a place."""
        expected = self.memory.acquire(key, holder, limit, ttl)

        assert expected == self.sqlite.acquire(key, holder, limit, ttl)

    @rule(places=st.lists(st.tuples(KEYS, HOLDERS), max_size=3))
    def release(self, places: list[tuple[str, bytes]]) -> None:
        """Give places up."""
        self.memory.release(places)
        self.sqlite.release(places)

    @rule(key=KEYS, holder=HOLDERS, interval=st.sampled_from([1.0, 20_000.0]), burst=st.integers(1, 3))
    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> None:
        """Ask for a turn; a rate is the same for all who ask under a key."""
        key = f"{key} {interval} {burst}"
        expected = self.memory.reserve(key, holder, interval, burst)

        assert expected == self.sqlite.reserve(key, holder, interval, burst)

    @rule(arrivals=ARRIVALS, ttl=SECONDS)
    def join_barrier(self, arrivals: list[BarrierMember], ttl: float) -> None:
        """Come, and see who is there."""
        assert list(self.memory.join_barrier(arrivals, ttl)) == list(self.sqlite.join_barrier(arrivals, ttl))
        self.gathered()

    @rule()
    def gathered(self) -> None:
        """See who is there."""
        for key in ("a", "b"):
            assert self.memory.barrier_members(key) == self.sqlite.barrier_members(key)

    @rule(keys=st.lists(KEYS, max_size=2))
    def delete_barriers(self, keys: list[str]) -> None:
        """Send all home."""
        self.memory.delete_barriers(keys)
        self.sqlite.delete_barriers(keys)


def test_both_give_the_same_answers(tmp_path: Path) -> None:
    """See `Both`."""

    class Here(Both):
        place = tmp_path / "notes.db"

    case = Here.TestCase
    case.settings = hypothesis_settings(max_examples=80, stateful_step_count=50, deadline=None)

    case("runTest").runTest()

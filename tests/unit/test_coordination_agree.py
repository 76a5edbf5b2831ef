"""The coordination stores in SQLite and in memory answer the same calls alike."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from qcore.coordination import BarrierMember
from qcore_sqlite import coordination, make_coordination
from qcore_testing.memory.coordination import MemoryCoordination
from tests.unit.sqlite_base import settings_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.portable

KEYS = st.sampled_from(["a", "b"])
HOLDERS = st.sampled_from([b"1", b"2", b"3", b"4"])
#: whole seconds, so that no answer depends on rounding
SECONDS = st.sampled_from([1.0, 2.0, 5.0])
MEMBERS = st.lists(
    st.builds(BarrierMember, KEYS, st.integers(0, 5), st.sampled_from([b"", b"x", b"y"])), max_size=4
)


class Both(RuleBasedStateMachine):
    """Both stores return the same for any sequence of calls."""

    database: Path

    def __init__(self) -> None:
        super().__init__()
        for end in ("", "-wal", "-shm", "-work", "-done"):
            self.database.with_name(self.database.name + end).unlink(missing_ok=True)
        self.now = 1_000_000.0
        self.memory = MemoryCoordination(lambda: self.now)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(coordination, "time", types.SimpleNamespace(time=lambda: self.now))
        self.sqlite = make_coordination(settings_for(self.database))

    def teardown(self) -> None:
        """Close the file and restore the clock."""
        self.sqlite.close()
        self.patch.undo()

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 50_000.0]))
    def advance(self, seconds: float) -> None:
        """Advance the clock of both."""
        self.now += seconds

    @rule()
    def prune(self) -> None:
        """Delete expired records, which changes no answer."""
        self.memory.prune()
        self.sqlite.prune()

    @rule(key=KEYS, value=st.sampled_from([b"", b"x", b"y"]), ttl=SECONDS)
    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Set or clear a flag."""
        self.memory.set_flag(key, value, ttl)
        self.sqlite.set_flag(key, value, ttl)

    @rule(keys=st.lists(KEYS, max_size=3))
    def get_flags(self, keys: list[str]) -> None:
        """Read some flags."""
        assert self.memory.get_flags(keys) == self.sqlite.get_flags(keys)

    @rule(key=KEYS, holder=HOLDERS, limit=st.integers(0, 3), ttl=SECONDS)
    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> None:
        """Acquire a permit."""
        expected = self.memory.acquire(key, holder, limit, ttl)

        assert expected == self.sqlite.acquire(key, holder, limit, ttl)

    @rule(permits=st.lists(st.tuples(KEYS, HOLDERS), max_size=3))
    def release(self, permits: list[tuple[str, bytes]]) -> None:
        """Release permits."""
        self.memory.release(permits)
        self.sqlite.release(permits)

    @rule(key=KEYS, holder=HOLDERS, interval=st.sampled_from([1.0, 20_000.0]), burst=st.integers(1, 3))
    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> None:
        """Reserve a rate slot; the key determines the rate, as it does in use."""
        key = f"{key} {interval} {burst}"
        expected = self.memory.reserve(key, holder, interval, burst)

        assert expected == self.sqlite.reserve(key, holder, interval, burst)

    @rule(members=MEMBERS, ttl=SECONDS)
    def join_barrier(self, members: list[BarrierMember], ttl: float) -> None:
        """Join barriers, and compare their members."""
        assert list(self.memory.join_barrier(members, ttl)) == list(self.sqlite.join_barrier(members, ttl))
        self.barrier_members()

    @rule()
    def barrier_members(self) -> None:
        """Compare the members of all barriers."""
        for key in ("a", "b"):
            assert self.memory.barrier_members(key) == self.sqlite.barrier_members(key)

    @rule(keys=st.lists(KEYS, max_size=2))
    def delete_barriers(self, keys: list[str]) -> None:
        """Delete barriers."""
        self.memory.delete_barriers(keys)
        self.sqlite.delete_barriers(keys)


def test_both_give_the_same_answers(tmp_path: Path) -> None:
    """See `Both`."""

    class Here(Both):
        database = tmp_path / "coordination.db"

    case = Here.TestCase
    case.settings = hypothesis_settings(max_examples=80, stateful_step_count=50, deadline=None)

    case("runTest").runTest()

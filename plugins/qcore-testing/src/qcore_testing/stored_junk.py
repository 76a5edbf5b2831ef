"""Rows that are not ours: reported or ignored by every store."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.coordination import BarrierMember
from qcore.errors import BackendError
from qcore.model import State, StoredResult, StoredSchedule
from qcore_testing.contract import Contract, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import ResultStore, ScheduleStore

_REASON = "can be written to past the store: there is no fixture put_junk"


class _Junk(Contract):
    @pytest.fixture
    def put_junk(self) -> Callable[..., object] | None:
        """Return a function that writes past the store; None = there is none."""
        return None


class JunkResultRules(_Junk):
    """The fixture `put_junk` returns a function that takes an id and a group, and puts junk there."""

    def test_results_that_are_not_ours_are_ignored(
        self, new: Callable[..., ResultStore], put_junk: Callable[[bytes, str], object] | None
    ) -> None:
        """Whatever somebody has written there, no list raises, and what is good is found."""
        skip_unless(put_junk is not None, _REASON)
        assert put_junk is not None
        store, junk = new(), os.urandom(16)
        good = StoredResult(os.urandom(16), State.SUCCESS, b"sealed", "a.task", "g", time.time())
        store.save([good])
        put_junk(junk, "g")

        for found in (store.recent(), store.recent(good.state), store.group("g"), store.get([junk, good.id])):
            assert good in list(found)
        store.wait(junk, 0.0)
        assert store.counts()[good.state] >= 1
        store.prune(1000)
        store.prune(1000, "group")
        store.ungroup("g")
        store.delete([junk])
        again = StoredResult(junk, State.SUCCESS, b"sealed", "a.task", None, time.time())
        store.save([again])
        assert list(store.get([junk])) == [again]


class JunkScheduleRules(_Junk):
    """The fixture `put_junk` returns a function that takes the name of a schedule and puts junk there."""

    def test_schedules_that_are_not_ours_are_ignored(
        self, new: Callable[..., ScheduleStore], put_junk: Callable[[str], object] | None
    ) -> None:
        """Whatever somebody has written there, no list raises, and what is good is fired."""
        skip_unless(put_junk is not None, _REASON)
        assert put_junk is not None
        store, good = new(), StoredSchedule("nightly", b"sealed", float(int(time.time()) - 60), active=True)
        put_junk("junk")
        store.add(good)

        assert good in list(store.all())
        store.get("junk")
        assert store.get("nightly") == good
        assert good in list(store.claim_due(time.time(), 10, 60.0))
        store.remove("junk")
        assert "junk" not in [one.name for one in store.all()]


class JunkCoordinationRules(_Junk):
    """The fixture `put_junk` returns a function that takes a key and puts junk where it is used."""

    def test_state_that_is_not_ours_is_ignored(
        self, new: Callable[..., CoordinationStore], put_junk: Callable[[str], object] | None
    ) -> None:
        """Whatever somebody has written there, flags are read; the rest raises errors of backends alone."""
        skip_unless(put_junk is not None, _REASON)
        assert put_junk is not None
        store = new()
        store.set_flag("good", b"x", 60.0)
        put_junk("junk")

        assert list(store.get_flags(["junk", "good"]))[1] == b"x"
        steps: list[Callable[[], Any]] = [
            lambda: store.acquire("junk", b"holder", 1, 60.0),
            lambda: store.release([("junk", b"holder")]),
            lambda: store.reserve("junk", b"holder", 0.001, 1),
            lambda: store.join_barrier([BarrierMember("junk", 0, b"came")], 60.0),
            lambda: sorted(store.barrier_members("junk").items()),
            lambda: store.delete_barriers(["junk"]),
            store.prune,
        ]
        for step in steps:
            with contextlib.suppress(BackendError):
                step()
        store.set_flag("junk", b"y", 60.0)
        assert list(store.get_flags(["junk"])) == [b"y"]

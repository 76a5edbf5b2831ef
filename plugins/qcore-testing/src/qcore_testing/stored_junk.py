"""Rows that are not ours: reported or ignored by every store."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.coordination import BarrierMember
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
        store.all()
        put_junk("junk")
        store.add(good)

        assert good in list(store.all())
        store.get("junk")
        assert store.get("nightly") == good
        assert good in list(store.claim_due(time.time(), 10, 60.0))
        store.remove("junk")
        assert "junk" not in [one.name for one in store.all()]


class JunkCoordinationRules(_Junk):
    """The fixture `put_junk` returns a function that takes a key and puts junk where it is used.

    Each call may put junk of another kind: the rules ask for it under several keys. They use the
    holder `HOLDER`, so that there may be junk of its name.
    """

    def test_state_that_is_not_ours_is_ignored(
        self, new: Callable[..., CoordinationStore], put_junk: Callable[[str], object] | None
    ) -> None:
        """Whatever somebody has written there, flags are read, and a new one takes the place of junk."""
        skip_unless(put_junk is not None, _REASON)
        assert put_junk is not None
        store = new()
        store.set_flag("good", b"x", 60.0)
        for key in _KEYS:
            put_junk(key)

        found: list[Any] = list(store.get_flags([*_KEYS, "good"]))
        assert found[-1] == b"x"
        assert [value for value in found if not isinstance(value, bytes | None)] == []
        for key in _KEYS:
            store.set_flag(key, b"y", 60.0)
            assert list(store.get_flags([key])) == [b"y"]

    @pytest.mark.parametrize("step", ["acquire", "release", "reserve", "join", "members", "delete", "prune"])
    def test_state_that_is_not_ours_holds_nobody_up(
        self, new: Callable[..., CoordinationStore], put_junk: Callable[[str], object] | None, step: str
    ) -> None:
        """Rows that are not the store's are ignored or taken for what they say; no call raises or hangs.

        A permit may count as taken and a rate slot may be far ahead, but what is returned is of its type.
        """
        skip_unless(put_junk is not None, _REASON)
        assert put_junk is not None
        new().set_flag("good", b"x", 60.0)
        for key in _KEYS:
            put_junk(key)
            told: list[str] = []

            def ask(key: str = key, told: list[str] = told) -> None:
                # a connection belongs to the thread that made it
                told.append(_wrong(new(), step, key))

            # a call that hangs for ever must not keep this process from its end
            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            thread.join(self.timeout)
            assert told == [""], f"{step} beside junk: {told or 'it did not return'}"


#: who asks for permits and rate slots beside junk
HOLDER: Final = b"holder"
_KEYS: Final = ("junk0", "junk1", "junk2", "junk3")


def _wrong(store: Any, step: str, key: str) -> str:  # noqa: ANN401 - whatever a store returns is judged
    """Return what is wrong with a call beside junk, "" if nothing is."""
    try:
        if step == "acquire":
            first = store.acquire(key, HOLDER, 1, 60.0)
            return "" if first is None or isinstance(first, bytes) else f"it returned {first!r}"
        if step == "release":
            store.release([(key, HOLDER)])
        elif step == "reserve":
            seconds = store.reserve(key, HOLDER, 0.001, 1)
            return "" if 0 <= seconds < math.inf else f"it returned {seconds!r}"
        elif step == "join":
            counts = list(store.join_barrier([BarrierMember(key, 0, b"came")], 60.0))
            return "" if len(counts) == 1 and counts[0] >= 1 else f"it returned {counts!r}"
        elif step == "members":
            found = store.barrier_members(key).items()
            ours = all(isinstance(index, int) and isinstance(body, bytes) for index, body in found)
            return "" if ours else f"it returned {found!r}"
        elif step == "delete":
            store.delete_barriers([key])
        else:
            store.prune()
    except Exception as exc:  # noqa: BLE001 - any is what the test is about
        return f"it raised {type(exc).__name__}: {exc}"
    return ""

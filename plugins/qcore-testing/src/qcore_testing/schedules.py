"""Whether a schedule store keeps to its interface."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import msgspec
import pytest

from qcore.model import StoredSchedule
from qcore_testing.contract import BESIDE, skip_unless
from qcore_testing.store_outages import StoreOutageRules
from qcore_testing.stored_junk import JunkScheduleRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qcore.interfaces import ScheduleStore


class MakeScheduleStore(Protocol):
    """The fixture `make` of `ScheduleStoreContract`."""

    def __call__(self, *, name: str = ...) -> ScheduleStore:
        """Return a new store of the same schedules."""


def schedule(
    name: str, *, due: float = -60.0, body: bytes = b"sealed", active: bool = True
) -> StoredSchedule:
    """Return a schedule whose slot is `due` seconds from now."""
    # a whole number: not every database keeps the last bits of a float
    return StoredSchedule(name, body, float(int(time.time()) + due), active)


def advanced(before: StoredSchedule, seconds: float, body: bytes = b"") -> StoredSchedule:
    """Return a schedule at a later slot."""
    return StoredSchedule(before.name, body or before.body + b"+", before.next_run + seconds, before.active)


def names(schedules: Iterable[StoredSchedule]) -> list[str]:
    """Return the names in the order given."""
    return [one.name for one in schedules]


class ScheduleStoreContract(JunkScheduleRules, StoreOutageRules):
    """What every schedule store must keep to, one test a sentence of `qcore.interfaces.ScheduleStore`.

    Override the fixture `make`: it returns a function that takes `name`, a field of
    `qcore.interfaces.Settings`, and returns a new store; every store of one name it returns in
    one test keeps the same schedules, none at the start.

    Override the fixture `put_junk` too where rows can be written past the store: it returns a function
    that takes the name of a schedule and writes there what is not one.
    """

    def calls(self, store: ScheduleStore) -> Mapping[str, Callable[[], object]]:
        """Return calls that cannot be answered without the server."""
        one = schedule("one")
        return {
            "add": lambda: store.add(one),
            "all": store.all,
            "get": lambda: store.get("one"),
            "claim_due": lambda: store.claim_due(0.0, 1, 60.0),
            "advance": lambda: store.advance(one, one),
            "remove": lambda: store.remove("one"),
        }

    @pytest.mark.parametrize("name", BESIDE)
    def test_two_queues_share_no_schedules(self, new: MakeScheduleStore, name: str) -> None:
        """A store keeps the schedules of the queue that `Settings.name` names, and touches no others."""
        ours, theirs = new(), new(name=name)
        kept = schedule("nightly")
        theirs.add(kept)

        assert list(ours.all()) == [], f"schedules of {name} are seen in kit"
        assert (ours.get("nightly"), ours.remove("nightly")) == (None, False)
        assert list(ours.claim_due(time.time(), 10, 60.0)) == []
        assert ours.advance(kept, None) is False

        ours.add(schedule("nightly", body=b"ours"))
        assert list(theirs.all()) == [kept]

    def test_a_schedule_is_kept_whole(self, new: MakeScheduleStore) -> None:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""
        full = schedule("a'b; --\N{SNOWMAN}", body=bytes(range(256)) * 40, due=1e9, active=False)
        new().add(full)
        new().add(schedule("plain"))

        assert [full] == [one for one in new().all() if one.name == full.name]

    def test_a_schedule_is_not_replaced_by_name(self, new: MakeScheduleStore) -> None:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""
        first, later = schedule("nightly", body=b"first"), schedule("nightly", due=60.0, body=b"later")

        assert new().add(first) is True
        assert new().add(later) is False
        assert [first] == list(new().all())

        assert new().remove("nightly") is True
        assert new().add(later) is True
        assert [later] == list(new().all())

    def test_a_schedule_is_removed(self, new: MakeScheduleStore) -> None:
        """Forget a schedule; return whether there was one."""
        new().add(schedule("nightly"))
        new().add(schedule("daily"))

        assert new().remove("nightly") is True
        assert new().remove("nightly") is False

        assert names(new().all()) == ["daily"]

    def test_schedules_are_listed_by_name(self, new: MakeScheduleStore) -> None:
        """Return every schedule, by name."""
        for name in ("b", "c", "a"):
            new().add(schedule(name, due=60.0, active=name != "a"))

        assert names(new().all()) == ["a", "b", "c"]

    def test_a_schedule_is_found_by_name(self, new: MakeScheduleStore) -> None:
        """Return the schedule of this name, None if there is none."""
        name = "a'b; --\N{SNOWMAN}"
        kept = schedule(name, body=bytes(range(256)), active=False)
        new().add(schedule("a"))
        new().add(kept)

        assert kept == new().get(name)
        assert new().get("b") is None
        new().remove(name)
        assert new().get(name) is None

    def test_due_schedules_are_claimed(self, new: MakeScheduleStore) -> None:
        """Return schedules whose `next_run` is at or before `now`, the longest due first."""
        now = float(int(time.time()))
        for name, due in (("later", 60.0), ("due", -10.0), ("long due", -600.0), ("hardly due", -1.0)):
            new().add(schedule(name, due=due))
        new().add(StoredSchedule("now", b"sealed", now))

        assert names(new().claim_due(now, 2, 60.0)) == ["long due", "due"]
        assert names(new().claim_due(now, 10, 60.0)) == ["hardly due", "now"]

    def test_a_claimed_schedule_is_nobody_elses(self, new: MakeScheduleStore) -> None:
        """A claimed schedule is claimed by nobody else for `hold` seconds."""
        new().add(schedule("nightly"))

        first = new().claim_due(time.time(), 10, 60.0)

        assert names(first) == ["nightly"]
        assert list(new().claim_due(time.time(), 10, 60.0)) == []

    def test_an_abandoned_claim_comes_back(self, new: MakeScheduleStore) -> None:
        """A claimed schedule is claimed by nobody else for `hold` seconds."""
        new().add(schedule("nightly"))
        new().claim_due(time.time(), 10, self.time_unit)

        assert any(names(new().claim_due(time.time(), 10, 60.0)) == ["nightly"] for _ in self.tries())

    def test_one_of_many_claims_a_slot(self, new: MakeScheduleStore) -> None:
        """A claimed schedule is claimed by nobody else for `hold` seconds."""
        skip_unless(new().cross_process, "is not seen by other processes")
        for number in range(40):
            new().add(schedule(f"{number:02}"))

        def claim(send: Callable[[str], None]) -> None:
            store = new()
            while claimed := store.claim_due(time.time(), 3, 60.0):
                for one in claimed:
                    send(one.name)

        children = [self.child(claim) for _ in range(4)]
        claimed = []
        for child in children:
            with child:
                claimed += child.lines()
                assert child.join() == 0

        assert [f"{number:02}" for number in range(40)] == sorted(claimed)

    def test_an_inactive_schedule_is_left(self, new: MakeScheduleStore) -> None:
        """One that is not `active` is not returned."""
        new().add(schedule("paused", active=False))
        new().add(schedule("other"))

        assert names(new().claim_due(time.time(), 10, 60.0)) == ["other"]

    def test_a_claimed_schedule_is_advanced(self, new: MakeScheduleStore) -> None:
        """Replace a claimed schedule by its next state, or remove it with None."""
        new().add(schedule("nightly"))
        (claimed,) = new().claim_due(time.time(), 10, 60.0)
        after = advanced(claimed, 30.0)

        assert new().advance(claimed, after) is True

        assert [after] == list(new().all())
        # the next slot is due as well and free
        assert [after] == list(new().claim_due(time.time(), 10, 60.0))

    def test_a_schedule_that_is_done_is_removed(self, new: MakeScheduleStore) -> None:
        """Replace a claimed schedule by its next state, or remove it with None."""
        new().add(schedule("once"))
        (claimed,) = new().claim_due(time.time(), 10, 60.0)

        assert new().advance(claimed, None) is True

        assert list(new().all()) == []

    def test_a_slot_is_advanced_once(self, new: MakeScheduleStore) -> None:
        """It changes nothing and returns False unless the `body` of `before` is still what is kept."""
        new().add(schedule("nightly"))
        (claimed,) = new().claim_due(time.time(), 10, self.time_unit)
        after = advanced(claimed, 3600.0)
        new().advance(claimed, after)

        assert new().advance(claimed, advanced(after, 0.0)) is False
        assert new().advance(claimed, None) is False
        assert [after] == list(new().all())

        new().remove("nightly")
        assert new().advance(after, after) is False
        assert list(new().all()) == []

    def test_an_edited_schedule_is_not_advanced(self, new: MakeScheduleStore) -> None:
        """It changes nothing and returns False unless the `body` of `before` is still what is kept."""
        new().add(schedule("nightly", body=b"old"))
        (claimed,) = new().claim_due(time.time(), 10, 60.0)
        edited = schedule("nightly", body=b"new")
        new().remove("nightly")
        new().add(edited)

        assert new().advance(claimed, advanced(claimed, 3600.0)) is False
        assert [edited] == list(new().all())

    def test_what_a_schedule_is_found_by_is_not_compared(self, new: MakeScheduleStore) -> None:
        """It changes nothing and returns False unless the `body` of `before` is still what is kept."""
        new().add(schedule("nightly"))
        other = msgspec.structs.replace(schedule("nightly"), next_run=0.0, active=False)

        assert new().advance(other, other) is True

        assert [other] == list(new().all())

    def test_close_may_be_repeated(self, new: MakeScheduleStore) -> None:
        """Let go of connections; calling it twice is harmless."""
        store = new()
        store.add(schedule("nightly"))

        store.close()
        store.close()

        assert names(new().all()) == ["nightly"]

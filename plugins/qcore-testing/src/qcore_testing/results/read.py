"""Rules of `get`, `wait` and the lists."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore.model import State
from qcore_testing.contract import Contract, Stopwatch
from qcore_testing.results.base import result

if TYPE_CHECKING:
    from qcore_testing.results.base import MakeStore

RETRYING, FAILED, SUCCESS = State.RETRYING, State.FAILED, State.SUCCESS


class ReadRules(Contract):
    """One test for each obligation of looking results up."""

    def test_results_come_in_the_order_asked_for(self, new: MakeStore) -> None:
        """Return results in the order of `ids`, None where there is none."""
        one, two = result(), result(FAILED)
        new().save([one, two])
        unknown = os.urandom(16)

        assert [two, None, one, two] == list(new().get([two.id, unknown, one.id, two.id]))
        assert list(new().get([])) == []

    def test_expired_results_are_not_returned(self, new: MakeStore) -> None:
        """A result whose `expires` is past is not returned."""
        old = result(FAILED, expires=time.time() - 60, group="g")
        soon = result(expires=time.time() + self.time_unit, group="g")
        lasting = result(expires=time.time() + 600, group="g")
        new().save([old, soon, lasting])

        assert any(
            [None, None, lasting] == list(new().get([old.id, soon.id, lasting.id])) for _ in self.tries()
        )
        assert [lasting] == list(new().group("g"))
        assert [lasting] == list(new().recent())
        assert new().wait(old.id, 0.0) is None

    @pytest.mark.parametrize("state", [FAILED, SUCCESS])
    def test_a_terminal_result_is_waited_for(self, new: MakeStore, make: MakeStore, state: State) -> None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""
        first = result(RETRYING)
        last = msgspec.structs.replace(first, state=state, body=b"at last")
        new().save([first])

        def finish() -> None:
            # a connection belongs to the thread that made it
            store = make()
            self.let_pass(2 * self.time_unit)
            store.save([last])
            store.close()

        thread = threading.Thread(target=finish)
        since = Stopwatch()
        thread.start()
        found = new().wait(first.id, 2 * self.timeout)
        thread.join()

        assert last == found
        self.at_least(since, 2 * self.time_unit)
        self.soon(since)

    def test_a_stored_result_needs_no_wait(self, new: MakeStore) -> None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""
        done = result(FAILED)
        new().save([done])

        since = Stopwatch()
        assert done == new(poll=60.0).wait(done.id, 2 * self.timeout)

        self.soon(since)

    def test_whoever_watches_is_woken(self, new: MakeStore) -> None:
        """Have `wake` called with each of these ids whose result becomes final within `seconds`."""
        one, other = result(), result()
        woken: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        end = new().watch([one.id], self.timeout, woken.put)
        if end is None:
            pytest.skip("the store notifies nobody")
        new().save([other, one])

        try:
            told = woken.get(timeout=self.timeout)
        except queue.Empty:
            pytest.fail(f"nobody was woken within {self.timeout:.0f} seconds of a result")
        assert told == one.id
        end(one.id)

    def test_a_wait_ends(self, new: MakeStore) -> None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""
        going_on = result(RETRYING)
        new().save([going_on])

        since = Stopwatch()
        assert going_on == new().wait(going_on.id, 2 * self.time_unit)
        assert new().wait(os.urandom(16), 2 * self.time_unit) is None

        self.at_least(since, 4 * self.time_unit)
        self.soon(since)

    def test_a_group_is_in_the_order_of_finishing(self, new: MakeStore) -> None:
        """Return the results of a group in the order they finished."""
        many = [result(body=b"%d" % number, group="g", finished=1000.0 + number) for number in range(5)]
        new().save([many[3], many[0], result(group="other"), many[4]])
        new().save([many[2], result(), many[1]])

        assert many == list(new().group("g"))
        assert list(new().group("unknown")) == []

    def test_a_replaced_result_leaves_its_group(self, new: MakeStore) -> None:
        """A result that is replaced leaves the group of the one before."""
        begun = [result(RETRYING, group="begun") for _ in range(4)]
        new().save(begun)
        one, two, three = (
            msgspec.structs.replace(before, state=state, group=group)
            for before, state, group in zip(begun, (FAILED, SUCCESS, FAILED), ("g", "g", None), strict=False)
        )
        new().save([one, two, three])

        assert [begun[3]] == list(new().group("begun"))
        assert {one.id, two.id} == {found.id for found in new().group("g")}

    def test_recent_results_are_newest_first(self, new: MakeStore) -> None:
        """Return the newest results, newest first, of one state or of any."""
        many = [result(state, finished=1000.0 + number) for number, state in enumerate([*State, *State])]
        new().save(many[::2])
        new().save(many[1::2])

        assert many[::-1] == list(new().recent())
        assert many[:-3:-1] == list(new().recent(limit=2))
        assert [many[4], many[1]] == list(new().recent(FAILED))
        assert [many[4]] == list(new().recent(FAILED, 1))

    def test_deleted_results_are_gone(self, new: MakeStore) -> None:
        """Forget results; return how many there were."""
        one, two, three = result(), result(FAILED), result(group="g")
        new().save([one, two, three])

        assert new().delete([one.id, os.urandom(16), three.id]) == 2
        assert new().delete([one.id]) == 0

        assert [None, two, None] == list(new().get([one.id, two.id, three.id]))
        assert list(new().group("g")) == []

    def test_results_are_counted_by_state(self, new: MakeStore) -> None:
        """Count results by state; a state without any may be left out."""
        new().save([result(), result(), result(FAILED)])

        counts = new().counts()

        assert tuple(counts.get(state, 0) for state in (SUCCESS, FAILED, RETRYING)) == (2, 1, 0)

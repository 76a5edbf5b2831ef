"""Whether a result store keeps to its interface."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Protocol

import msgspec
import pytest

from qcore.model import State, StoredResult
from qcore.testing.contract import Contract, Stopwatch, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qcore.interfaces import ResultStore

RETRYING, FAILED, SUCCESS = State.RETRYING, State.FAILED, State.SUCCESS


class MakeStore(Protocol):
    """The fixture `make` of `ResultStoreContract`."""

    def __call__(self, *, poll: float = ...) -> ResultStore:
        """Return a new store of the same results."""


def result(state: State = SUCCESS, *, body: bytes = b"sealed", **fields: object) -> StoredResult:
    """Return a result of its own id that ended now."""
    made = StoredResult(os.urandom(16), state, body, "a.task", finished=time.time())
    return msgspec.structs.replace(made, **fields)


def bodies(results: Iterable[StoredResult | None]) -> list[bytes]:
    """Return the bodies of what was found."""
    return [found.body for found in results if found is not None]


class ResultStoreContract(Contract):
    """What every store must keep to, one test a sentence of `qcore.interfaces.ResultStore`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`poll` is used) and returns a new store; every store it
    returns in one test keeps the same results, none at the start.
    """

    # -- save -------------------------------------------------------------------------------

    def test_saved_results_survive_the_worker(self, new: MakeStore) -> None:
        """When it returns, every result survives the death of the calling process."""
        needs(new().processes, "is not seen by other processes")
        saved = [result(body=b"one"), result(FAILED, body=b"two")]

        def work(tell: Callable[[str], None]) -> None:
            new().save(saved)
            tell("saved")
            signal.pause()

        with self.child(work) as child:
            assert child.line() == "saved"
            child.kill()

        assert saved == list(new().get([one.id for one in saved]))

    def test_everything_about_a_result_is_kept(self, new: MakeStore) -> None:
        """Keep results."""
        saved = [
            result(FAILED, body=bytes(range(256)) * 40, name="n" * 256, group="g", expires=time.time() + 999),
            result(RETRYING, body=b"", name="t\N{SNOWMAN}sk", group="x'; DROP TABLE results; --"),
            result(finished=0.0),
        ]

        new().save(saved)

        assert saved == list(new().get([one.id for one in saved]))

    @pytest.mark.parametrize("before", list(State))
    @pytest.mark.parametrize("after", list(State))
    def test_a_result_is_replaced_by_rank(self, new: MakeStore, before: State, after: State) -> None:
        """A stored result is replaced only by one whose state is the same or higher."""
        first = result(before, body=b"before")
        second = msgspec.structs.replace(first, state=after, body=b"after")

        new().save([first])
        new().save([second])

        replaced = after >= before and before is not SUCCESS
        assert [b"after" if replaced else b"before"] == bodies(new().get([first.id]))

    def test_a_success_is_final(self, new: MakeStore) -> None:
        """A stored success is never replaced."""
        first = result(SUCCESS, body=b"first")

        new().save([first])
        for state in State:
            new().save([msgspec.structs.replace(first, state=state, body=b"later", name="other", group="g")])

        assert list(new().get([first.id])) == [first]
        assert list(new().group("g")) == []

    def test_one_call_is_like_several(self, new: MakeStore) -> None:
        """Several results of one id in one call act as if saved one by one."""
        one, two = result(RETRYING, body=b"1"), result(SUCCESS, body=b"2")
        again = [msgspec.structs.replace(one, state=state, body=state.name.encode()) for state in State]

        new().save([one, two, *again, msgspec.structs.replace(two, state=FAILED, body=b"too late"), one])

        assert bodies(new().get([one.id, two.id])) == [b"SUCCESS", b"2"]
        assert sum(new().counts().values()) == 2

    def test_writers_race_and_the_success_wins(self, new: MakeStore) -> None:
        """A stored success is never replaced."""
        needs(new().processes, "is not seen by other processes")
        many = [result(RETRYING, body=b"racing") for _ in range(40)]

        def writer(state: State) -> Callable[[Callable[[str], None]], None]:
            def work(tell: Callable[[str], None]) -> None:
                store = new()
                for one in many:
                    store.save([msgspec.structs.replace(one, state=state)])
                tell("saved")

            return work

        children = [self.child(writer(state)) for state in (SUCCESS, FAILED, RETRYING, FAILED)]
        for child in children:
            with child:
                assert child.line() == "saved"

        assert {SUCCESS} == {found.state for found in new().get([one.id for one in many]) if found}

    # -- get, wait --------------------------------------------------------------------------

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
        soon = result(expires=time.time() + self.tick, group="g")
        lasting = result(expires=time.time() + 600, group="g")
        new().save([old, soon, lasting])

        assert any(
            [None, None, lasting] == list(new().get([old.id, soon.id, lasting.id])) for _ in self.deadline()
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
            self.let_pass(2 * self.tick)
            store.save([last])
            store.close()

        thread = threading.Thread(target=finish)
        since = Stopwatch()
        thread.start()
        found = new().wait(first.id, 2 * self.patience)
        thread.join()

        assert last == found
        assert 2 * self.tick - self.tolerance <= since.seconds < self.patience

    def test_a_stored_result_needs_no_wait(self, new: MakeStore) -> None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""
        done = result(FAILED)
        new().save([done])

        since = Stopwatch()
        assert done == new(poll=60.0).wait(done.id, 2 * self.patience)

        assert since.seconds < self.patience

    def test_a_wait_ends(self, new: MakeStore) -> None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""
        going_on = result(RETRYING)
        new().save([going_on])

        since = Stopwatch()
        assert going_on == new().wait(going_on.id, 2 * self.tick)
        assert new().wait(os.urandom(16), 2 * self.tick) is None

        assert 4 * self.tick - self.tolerance <= since.seconds < self.patience

    # -- lists ------------------------------------------------------------------------------

    def test_a_group_is_in_the_order_of_finishing(self, new: MakeStore) -> None:
        """Return the results of a group in the order they finished."""
        many = [result(body=b"%d" % number, group="g", finished=1000.0 + number) for number in range(5)]
        new().save([many[3], many[0], result(group="other"), many[4]])
        new().save([many[2], result(), many[1]])

        assert many == list(new().group("g"))
        assert list(new().group("unknown")) == []

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

    # -- prune ------------------------------------------------------------------------------

    def test_the_oldest_successes_are_pruned(self, new: MakeStore) -> None:
        """Forget what has expired, and the oldest successes beyond `keep`."""
        many = [result(finished=1000.0 + number) for number in range(6)]
        old = result(FAILED, expires=time.time() - 60)
        new().save([*many[::2], old, *many[1::2]])

        new().prune(2)

        assert [*[None] * 4, *many[4:]] == list(new().get([one.id for one in many]))
        assert new().delete([old.id]) == 0

    def test_failures_are_not_pruned(self, new: MakeStore) -> None:
        """Failures are kept however many there are."""
        kept = [result(FAILED, finished=1.0 + number) for number in range(5)] + [result(RETRYING)]
        new().save([*kept, result(), result()])

        new().prune(0)

        assert kept == list(new().get([one.id for one in kept]))
        assert new().counts().get(SUCCESS, 0) == 0

    def test_only_what_has_expired_is_pruned(self, new: MakeStore) -> None:
        """A negative `keep` forgets only what has expired."""
        kept = [result() for _ in range(5)]
        old = [result(expires=time.time() - 60), result(FAILED, expires=time.time() - 60)]
        new().save([*kept, *old])

        new().prune(-1)

        assert kept == list(new().get([one.id for one in kept]))
        assert new().delete([one.id for one in old]) == 0

    def test_the_pruned_are_counted(self, new: MakeStore) -> None:
        """The number forgotten is returned."""
        new().save([result(finished=1.0 + number) for number in range(4)])
        new().save([result(FAILED, expires=time.time() - 60)])

        assert new().prune(1) == 4
        assert new().prune(1) == 0
        assert new().prune(-1) == 0

    def test_close_may_be_repeated(self, new: MakeStore) -> None:
        """Let go of connections; calling it twice is harmless."""
        store = new()
        kept = result()
        store.save([kept])

        store.close()
        store.close()

        assert [kept] == list(new().get([kept.id]))

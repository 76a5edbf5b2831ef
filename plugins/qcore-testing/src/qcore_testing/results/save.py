"""Rules of `save`: what is kept and what is replaced."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore.model import State
from qcore_testing.contract import BESIDE, Contract, skip_unless
from qcore_testing.results.base import bodies, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.results.base import MakeStore

RETRYING, FAILED, SUCCESS = State.RETRYING, State.FAILED, State.SUCCESS


class SaveRules(Contract):
    """One test for each obligation of saving."""

    def test_saved_results_survive_the_worker(self, new: MakeStore) -> None:
        """When it returns, every result survives the death of the calling process."""
        skip_unless(new().cross_process, "is not seen by other processes")
        saved = [result(body=b"one"), result(FAILED, body=b"two")]

        def work(send: Callable[[str], None]) -> None:
            new().save(saved)
            send("saved")
            signal.pause()

        with self.child(work) as child:
            assert child.line() == "saved"
            child.kill()

        assert saved == list(new().get([one.id for one in saved]))

    def test_a_fork_saves_too(self, new: MakeStore) -> None:
        """Serve a process that was forked from the one that made it, as `Broker.after_fork` does."""
        store = new()
        saved = [result(body=b"one"), result(body=b"two")]
        store.save(saved[:1])
        if not store.after_fork(b""):
            pytest.skip("it cannot serve another process")

        def work(send: Callable[[str], None]) -> None:
            assert store.after_fork(b"f" * 16)
            store.save(saved[1:])
            send("saved")

        with self.child(work) as child:
            assert child.line() == "saved"
            assert child.join() == 0

        assert saved == list(store.get([one.id for one in saved]))

    def test_a_result_is_replaced_if_it_is_what_was_read(self, new: MakeStore) -> None:
        """Replace a result, a success too, if its `body` is still what is stored; return whether it was."""
        store, other = new(), new()
        before = result(body=b"before", group="g")
        after, late = (msgspec.structs.replace(before, body=body) for body in (b"after", b"late"))
        store.save([before])

        assert other.replace(before, after)
        assert not other.replace(before, late)
        assert not other.replace(result(), late)
        assert list(store.get([before.id])) == [after]
        assert list(store.group("g")) == [after]

    def test_everything_about_a_result_is_kept(self, new: MakeStore) -> None:
        """Keep results."""
        saved = [
            result(FAILED, body=bytes(range(256)) * 40, name="n" * 256, group="g", expires=time.time() + 999),
            result(label="l" * 255 + "\N{SNOWMAN}", group=None),
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

    @pytest.mark.parametrize("name", BESIDE)
    def test_two_queues_share_no_results(self, new: MakeStore, name: str) -> None:
        """A store keeps the results of the queue that `Settings.name` names, and touches no others."""
        ours, theirs = new(), new(name=name)
        saved = result(group="g", label="l")
        theirs.save([saved, result(FAILED)])

        found = [*ours.get([saved.id]), *ours.recent(), *ours.group("g"), ours.wait(saved.id, 0.0)]
        assert [one for one in found if one is not None] == [], f"results of {name} are seen in kit"
        assert sum(ours.counts().values()) == 0
        assert (ours.ungroup("g"), ours.delete([saved.id]), ours.prune(0)) == (0, 0, 0)

        ours.save([msgspec.structs.replace(saved, body=b"ours")])
        assert list(theirs.group("g")) == [saved]
        assert bodies(ours.get([saved.id])) == [b"ours"]

    def test_writers_race_and_the_success_wins(self, new: MakeStore) -> None:
        """A stored success is never replaced."""
        skip_unless(new().cross_process, "is not seen by other processes")
        many = [result(RETRYING, body=b"racing") for _ in range(40)]

        def writer(state: State) -> Callable[[Callable[[str], None]], None]:
            def work(send: Callable[[str], None]) -> None:
                store = new()
                for one in many:
                    store.save([msgspec.structs.replace(one, state=state)])
                send("saved")

            return work

        children = [self.child(writer(state)) for state in (SUCCESS, FAILED, RETRYING, FAILED)]
        for child in children:
            with child:
                assert child.line() == "saved"

        assert {SUCCESS} == {found.state for found in new().get([one.id for one in many]) if found}

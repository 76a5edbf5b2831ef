"""Whether broker and store of one backend keep their order."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Protocol

from qcore.model import Action, Settlement, State, StoredResult
from qcore_testing.broker.base import BrokerTests, acks, bodies, chunks, message, numbered
from qcore_testing.contract import MOMENTS, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Delivery


class MakePair(Protocol):
    """The fixture `make` of `CommitContract`."""

    def __call__(
        self, *, name: str = ..., retry: float = ..., poll: float = ...
    ) -> tuple[Broker, ResultStore]:
        """Return a new broker of the one queue and a new store of its results."""


def result_of(delivery: Delivery, state: State = State.SUCCESS) -> StoredResult:
    """Return the result of the task a message stands for."""
    id = hashlib.sha256(delivery.body).digest()[:16]
    return StoredResult(id, state, delivery.body, "a.task", finished=time.time())


class CommitContract(BrokerTests):
    """What `Broker.commit_and_lease` must keep to when it writes results and settlements in one step.

    Override the fixture `make`: it returns a function that takes fields of
    `qcore.interfaces.Settings` and returns a broker and a store with the same `transaction_domain`.
    """

    def test_they_share_a_backend(self, new: MakePair) -> None:
        """`transaction_domain`: a store with the same one can be written in one step with it."""
        broker, store = new()

        assert broker.capabilities.transaction_domain is not None
        assert broker.capabilities.transaction_domain == store.transaction_domain

    def test_all_is_done_in_one_call(self, new: MakePair) -> None:
        """Save results, enqueue what follows from them, end leases and take the next, without waiting."""
        for lease in self.leases(4):
            with lease:
                broker, store = new(retry=lease.seconds, name=lease.name)
                self.put(broker, *numbered(6))
                done = self.some(broker, 3)
                then = [message(b"follows"), message(b"follows too")]

                taken = broker.commit_and_lease(store, [result_of(one) for one in done], acks(done), 10, then)

                assert [*numbered(6)[3:], b"follows", b"follows too"] == bodies(taken)
                other, results = new(name=lease.name)
                assert [result_of(one).body for one in done] == [
                    found.body for found in results.get([result_of(one).id for one in done]) if found
                ]
                broker.settle(acks(taken))
                lease.lasted()
                self.nothing(other, 1.5 * lease.seconds)

    def test_each_part_may_be_empty(self, new: MakePair) -> None:
        """With `limit` 0 nothing is leased."""
        broker, store = new()
        self.put(broker, b"one", b"two")

        assert list(broker.commit_and_lease(store, [], [], 0)) == []
        (one,) = broker.commit_and_lease(store, [], [], 1)
        assert list(broker.commit_and_lease(store, [result_of(one)], [], 0)) == []
        assert list(broker.commit_and_lease(None, [], acks([one]), 0)) == []
        assert list(broker.commit_and_lease(store, [], [], 0, [message(b"three")])) == []
        assert bodies(broker.commit_and_lease(None, [], [], 5)) == [b"two", b"three"]
        assert bodies(broker.commit_and_lease(None, [], [], 5, [message(b"four")])) == [b"four"]
        assert list(broker.commit_and_lease(store, [], [], 5)) == []

    def test_a_success_is_kept_though_the_lease_has_expired(self, new: MakePair) -> None:
        """A receipt whose lease has ended, or that never was one, is ignored."""
        broker, store = new(retry=self.time_unit)
        other, _ = new(retry=60.0)
        self.put(broker, b"slow")
        expired = self.one(broker)
        current = self.one(other)

        broker.commit_and_lease(store, [result_of(expired)], acks([expired]), 0)

        assert store.get([result_of(expired).id])[0] is not None
        self.settle(other, current, Action.RETRY)
        assert self.one(other).body == b"slow"

    def test_ranks_hold(self, new: MakePair) -> None:
        """A stored success is never replaced."""
        broker, store = new()
        self.put(broker, b"twice")
        leased = self.one(broker)
        success, late = result_of(leased), result_of(leased, State.FAILED)

        broker.commit_and_lease(store, [success], [], 0)
        broker.commit_and_lease(store, [late, late], [Settlement(leased.receipt)], 0)

        assert [success] == list(store.get([success.id]))

    def test_what_is_gone_has_a_result(self, new: MakePair) -> None:
        """Results are durable before the messages in `then` are, and these before the settlements."""
        skip_unless(new()[0].capabilities.cross_process, "is not seen by other processes")
        sent = numbered(300)
        for batch in chunks(sent, 100):
            self.put(new()[0], *batch)

        def work(send: Callable[[str], None]) -> None:
            broker, store = new(retry=4 * self.time_unit)
            done = broker.lease(3, 0.0)
            while done:
                send("cycle")
                done = broker.commit_and_lease(store, [result_of(one) for one in done], acks(done), 3)

        for at in MOMENTS:
            with self.child(work) as child:
                self.kill_amid(child, 10, at)

        broker, store = new()
        left = set()
        while taken := broker.lease(100, 8 * self.time_unit):
            left |= set(bodies(taken))
            broker.settle(acks(taken))
        ids = [hashlib.sha256(body).digest()[:16] for body in sent if body not in left]
        assert ids
        assert None not in store.get(ids)

    def test_what_follows_is_there_before_its_cause_is_gone(self, new: MakePair) -> None:
        """Results are durable before the messages in `then` are, and these before the settlements.

        Each message stands for a step of a chain and is followed by the next step.
        """
        skip_unless(new()[0].capabilities.cross_process, "is not seen by other processes")
        self.put(new()[0], *[b"%d:0" % chain for chain in range(8)])

        def work(send: Callable[[str], None]) -> None:
            broker, store = new(retry=4 * self.time_unit)
            done = self.some(broker, 1)
            while True:
                send("cycle")
                then = [message(step(one, 1)) for one in done]
                taken = broker.commit_and_lease(store, [result_of(one) for one in done], acks(done), 1, then)
                done = list(taken) or self.some(broker, 1)

        for at in MOMENTS:
            with self.child(work) as child:
                self.kill_amid(child, 10, at)

        broker, store = new()
        left: list[Delivery] = []
        while taken := broker.lease(100, 8 * self.time_unit):
            left += taken
        assert {one.body.partition(b":")[0] for one in left} == {b"%d" % chain for chain in range(8)}
        for one in left:
            before = [step(one, -back) for back in range(1, int(one.body.partition(b":")[2]) + 1)]
            assert None not in store.get([hashlib.sha256(body).digest()[:16] for body in before])


def step(delivery: Delivery, forth: int) -> bytes:
    """Return the step of the same chain that is so many ahead."""
    chain, _, number = delivery.body.partition(b":")
    return b"%s:%d" % (chain, int(number) + forth)

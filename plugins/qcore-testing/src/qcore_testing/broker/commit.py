"""Rules of `Broker.commit_and_lease`, with a store of another kind."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendUnavailable, PayloadTooLarge
from qcore.model import Settlement, State, StoredResult
from qcore_testing.broker.base import BrokerTests, acks, bodies, message, numbered
from qcore_testing.contract import Stopwatch, skip_unless
from qcore_testing.memory import MemoryResults, MemoryServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_testing.broker.base import MakeBroker


class DeadStore(MemoryResults):
    """A store that cannot be reached."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Fail."""
        del results
        raise BackendUnavailable("the store of this test never answers")


def a_result() -> StoredResult:
    """Return a success of its own id."""
    return StoredResult(os.urandom(16), State.SUCCESS, b"sealed", "a.task")


class CommitRules(BrokerTests):
    """Results, settlements and the next lease in one call."""

    def test_commit_and_lease_saves_settles_and_leases(self, new: MakeBroker) -> None:
        """Save results, enqueue what follows from them, end leases and take the next, without waiting."""
        store = MemoryResults(MemoryServer().results("kit"), backend="kit")
        result = a_result()
        for lease in self.leases(4):
            with lease:
                broker = new(retry=lease.seconds, name=lease.name)
                most = min(10, broker.capabilities.max_batch)
                self.put(broker, *numbered(4))
                done = self.some(broker, 2)

                taken = list(broker.commit_and_lease(store, [result], acks(done), most))
                if len(taken) < 2:
                    taken += self.some(broker, 2 - len(taken))
                broker.settle(acks(taken))

                lease.lasted()
                assert [result] == list(store.get([result.id]))
                assert set(numbered(4)) == {delivery.body for delivery in [*done, *taken]}
                self.nothing(new(name=lease.name), 1.5 * lease.seconds)

    def test_commit_and_lease_does_not_wait(self, new: MakeBroker) -> None:
        """Save results, enqueue what follows from them, end leases and take the next, without waiting."""
        broker = new(poll=60.0)

        since = Stopwatch()
        assert list(broker.commit_and_lease(None, [], [Settlement(b"unknown")], 5)) == []

        self.soon(since)

    def test_nothing_is_settled_unless_results_are_saved(self, new: MakeBroker) -> None:
        """Results are durable before the messages in `then` are, and these before the settlements."""
        broker, other = new(retry=2 * self.time_unit), new()
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        store = DeadStore(MemoryServer().results("kit"), backend="kit")
        self.put(broker, b"finished")
        leased = self.one(broker)

        with pytest.raises(BackendUnavailable):
            broker.commit_and_lease(store, [a_result()], acks([leased]), 0, [message(b"too early")])

        assert self.one(other).body == b"finished"
        self.nothing(other)

    def test_nothing_is_settled_unless_what_follows_is_enqueued(self, new: MakeBroker) -> None:
        """Results are durable before the messages in `then` are, and these before the settlements."""
        broker, other = new(retry=2 * self.time_unit), new()
        limit = broker.capabilities.max_bytes
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        skip_unless(limit is not None, "takes messages of any size")
        self.put(broker, b"finished")
        leased = self.one(broker)

        with pytest.raises(PayloadTooLarge):
            broker.commit_and_lease(None, [], acks([leased]), 0, [message(bytes((limit or 0) + 1))])

        assert self.one(other).body == b"finished"

    def test_commit_and_lease_enqueues_follow_ups(self, new: MakeBroker) -> None:
        """Save results, enqueue what follows from them, end leases and take the next, without waiting."""
        broker, other = new(), new()
        store = MemoryResults(MemoryServer().results("kit"), backend="kit")
        result = a_result()
        self.put(broker, b"step")
        done = self.one(broker)

        taken = list(
            broker.commit_and_lease(store, [result], acks([done]), 5, [message(b"next"), message(b"last")])
        )
        taken += self.some(broker, 2 - len(taken)) if len(taken) < 2 else []

        assert [result] == list(store.get([result.id]))
        assert {b"next", b"last"} == set(bodies(taken))
        assert list(broker.commit_and_lease(None, [], acks(taken), 0, [message(b"after all")])) == []
        assert bodies(self.some(other, 1)) == [b"after all"]
        self.nothing(broker)

    def test_what_follows_may_follow_later(self, new: MakeBroker) -> None:
        """A message is not leased before its delay is over."""
        broker = new()
        skip_unless(broker.capabilities.delay, "cannot wait")

        since = Stopwatch()
        taken = broker.commit_and_lease(None, [], [], 5, [message(b"later", delay=2 * self.time_unit)])
        assert list(taken) == []
        assert self.one(broker).body == b"later"

        self.at_least(since, 2 * self.time_unit)

    @pytest.mark.parametrize("limit", [0, 1])
    def test_who_waits_is_woken_by_what_follows(self, new: MakeBroker, make: MakeBroker, limit: int) -> None:
        """`lease` waits in the backend, without polling."""
        consumer = new(poll=60.0)
        skip_unless(consumer.capabilities.long_poll, "polls")

        def continue_on_failure() -> None:
            # a connection belongs to the thread that made it
            other = make()
            other.commit_and_lease(None, [], [], limit, [message(b"follows") for _ in range(limit + 1)])
            other.close()

        going_on = threading.Timer(2 * self.time_unit, continue_on_failure)

        since = Stopwatch()
        going_on.start()
        found = bodies(consumer.lease(1, 2 * self.timeout))
        going_on.join()

        assert found == [b"follows"]
        self.soon(since)

    def test_commit_and_lease_of_nothing_leases_nothing(self, new: MakeBroker) -> None:
        """With `limit` 0 nothing is leased."""
        broker, other = new(), new()
        self.put(broker, b"one", b"two")
        done = self.one(broker)

        assert list(broker.commit_and_lease(None, [], acks([done]), 0)) == []

        left = {b"one", b"two"} - {done.body}
        assert left == set(bodies(self.some(other, 1)))

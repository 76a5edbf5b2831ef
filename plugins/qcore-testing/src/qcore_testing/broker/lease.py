"""Rules of `Broker.lease` and `Broker.extend`."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from qcore.model import Action
from qcore_testing.broker.base import BrokerTests, acks, bodies, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.model import Delivery
    from qcore_testing.broker.base import MakeBroker

#: seconds in which what was released comes again, on a busy machine too
_REST: Final = 60.0


class LeaseRules(BrokerTests):
    """What is handed out, to whom and for how long."""

    def test_a_leased_message_is_nobody_elses(self, new: MakeBroker) -> None:
        """A leased message is handed to nobody else for `Settings.retry` seconds."""
        broker, other = new(retry=8 * self.time_unit), new(retry=8 * self.time_unit)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        self.put(broker, b"mine")

        since = Stopwatch()
        self.one(broker)
        taken = other.lease(1, 0.0) or broker.lease(1, self.time_unit) or [self.one(other)]

        assert bodies(taken) == [b"mine"]
        self.at_least(since, 8 * self.time_unit)

    def test_an_expired_lease_goes_to_another(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        broker, other = new(retry=4 * self.time_unit), new(retry=60.0)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        self.put(broker, b"lost")

        first = self.one(broker)
        second = self.one(other)

        assert second.body == b"lost"
        assert first.receipt != second.receipt
        self.nothing(broker, self.time_unit)

    def test_each_lease_has_a_receipt_of_its_own(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        broker = new()
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        self.put(broker, *numbered(10))

        assert len({delivery.receipt for delivery in self.some(broker, 10)}) == 10

    def test_deliveries_counts_the_leases(self, new: MakeBroker) -> None:
        """`deliveries` counts the leases of the message, 1 at the first."""
        broker = new(retry=self.time_unit)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        skip_unless(broker.capabilities.stores_counters, "does not count")
        self.put(broker, b"again and again")

        assert [self.one(broker).deliveries for _ in range(3)] == [1, 2, 3]

    def test_what_is_ready_is_handed_out_at_once(self, new: MakeBroker) -> None:
        """It returns at once when anything is ready, with what is ready."""
        broker = new()
        self.put(broker, b"one", b"two")

        since = Stopwatch()
        found = list(broker.lease(min(10, broker.capabilities.max_batch), 2 * self.timeout))
        found += self.some(broker, 2 - len(found)) if len(found) < 2 else []

        assert {b"one", b"two"} == set(bodies(found))
        self.soon(since)

    def test_no_more_is_handed_out_than_asked_for(self, new: MakeBroker) -> None:
        """Hand out up to `limit` messages, waiting up to `wait` seconds for the first."""
        broker = new()
        self.put(broker, *numbered(5))

        assert len(broker.lease(1, self.timeout)) == 1
        assert len(broker.lease(2, self.timeout)) in (1, 2)

    def test_a_waiting_lease_gets_what_comes(self, new: MakeBroker, make: MakeBroker) -> None:
        """Hand out up to `limit` messages, waiting up to `wait` seconds for the first."""
        got: list[Delivery] = []
        began = threading.Event()

        def consume() -> None:
            # a connection belongs to the thread that made it
            broker = make()
            began.set()
            got.extend(broker.lease(1, self.timeout))
            broker.close()

        thread = threading.Thread(target=consume)
        thread.start()
        began.wait(self.timeout)
        producer = new()
        self.nothing_left_waiting(thread)
        self.put(producer, b"at last")
        thread.join(self.timeout)

        assert bodies(got) == [b"at last"]

    def nothing_left_waiting(self, thread: threading.Thread) -> None:
        """Give the other thread time to begin its wait; it must not return from it."""
        thread.join(self.time_unit)
        assert thread.is_alive(), "it did not wait"

    def test_an_empty_queue_is_waited_for(self, new: MakeBroker) -> None:
        """An empty queue gives an empty sequence once `wait` is over, not before."""
        broker = new()

        since = Stopwatch()
        assert list(broker.lease(1, 2 * self.time_unit)) == []

        self.at_least(since, 2 * self.time_unit)
        self.soon(since)

    def test_no_wait_is_no_wait(self, new: MakeBroker) -> None:
        """An empty queue gives an empty sequence once `wait` is over, not before."""
        broker = new(poll=60.0)

        since = Stopwatch()
        assert list(broker.lease(1, 0.0)) == []

        self.soon(since)

    def test_every_message_goes_to_one_of_many(self, new: MakeBroker) -> None:
        """A leased message is handed to nobody else for `Settings.retry` seconds."""
        skip_unless(new().capabilities.cross_process, "is not seen by other processes")
        sent = numbered(200)
        self.put(new(), *sent)

        def consume(send: Callable[[str], None]) -> None:
            broker = new()
            while taken := broker.lease(min(7, broker.capabilities.max_batch), 4 * self.time_unit):
                for delivery in taken:
                    send(delivery.body.decode())
                broker.settle(acks(taken))

        children = [self.child(consume) for _ in range(4)]
        leased = []
        for child in children:
            with child:
                leased += child.lines()
                assert child.join() == 0
        # On a busy machine all may have given up while one of them had an answer that came too late.
        broker, end = new(), time.monotonic() + _REST
        while len(leased) < len(sent) and time.monotonic() < end:
            leased += [one.body.decode() for one in broker.lease(1, 4 * self.time_unit)]

        assert [body.decode() for body in sent] == sorted(leased)

    # -- other processes -------------------------------------------------------------------

    def test_a_fork_leases_for_an_owner_of_its_own(self, new: MakeBroker) -> None:
        """Afterwards the broker acts as one made with `Settings.owner` = `owner`, and its next call connects.

        It is called before the fork too, in the process that made the broker: it closes connections
        then, so that parent and child share none.
        """
        broker, sent = new(owner=b"a" * 16), numbered(3)
        self.put(broker, *sent)
        held = self.one(broker)
        if not broker.after_fork(b"a" * 16):
            pytest.skip("it cannot serve another process")

        def work(send: Callable[[str], None]) -> None:
            assert broker.after_fork(b"f" * 16)
            send(self.one(broker).body.decode())
            signal.pause()

        with self.child(work) as child:
            assert child.line() != held.body.decode()
            broker.extend([held.receipt], 60.0)
            child.kill()

        assert new().release_owner(b"f" * 16) == 1
        again = self.some(broker, 2)
        assert sorted(bodies([held, *again])) == sent
        broker.settle(acks([held, *again]))
        self.nothing(new())

    # -- leases of an owner ----------------------------------------------------------------

    def test_leases_of_the_dead_are_released(self, new: MakeBroker) -> None:
        """Called once that process is dead.

        Called once that process is dead, so that what it leased in its last instant, before
        it could note it down, need not wait for the lease to end.
        """
        dead, alive = new(owner=b"d" * 16), new(owner=b"a" * 16)
        skip_unless(dead.capabilities.redelivers, "gives no receipts")
        self.put(dead, *numbered(4))
        lost, held = self.some(dead, 2), self.some(alive, 2)

        count = new().release_owner(b"d" * 16)
        if not count:
            pytest.skip("it cannot tell whose leases they are")

        back = self.some(alive, 2)
        assert count == 2
        assert sorted(bodies(back)) == sorted(bodies(lost))
        assert {delivery.deliveries for delivery in back} == {1}
        # the living still hold what they held
        dead.settle(acks(lost))
        alive.settle(acks([*held, *back]))
        self.nothing(new())

    def test_only_leases_of_the_dead_are_released(self, new: MakeBroker) -> None:
        """A broker that cannot tell returns 0 and lets the leases run out."""
        for lease in self.leases(4):
            with lease:
                broker, other = (
                    new(owner=b"a" * 16, retry=lease.seconds, name=lease.name),
                    new(name=lease.name),
                )
                skip_unless(broker.capabilities.redelivers, "gives no receipts")
                self.put(broker, b"held")
                self.one(broker)

                assert other.release_owner(b"d" * 16) == 0
                self.nothing(other)
                assert self.one(other).body == b"held"

    # -- extend -----------------------------------------------------------------------------

    def test_an_extended_lease_lasts(self, new: MakeBroker) -> None:
        """Make leases last `seconds` from now, or `Settings.retry` where leases are fixed."""
        self.holds(new, lambda receipts: receipts)

    def test_an_extended_lease_ends(self, new: MakeBroker) -> None:
        """Make leases last `seconds` from now, or `Settings.retry` where leases are fixed."""
        broker, other = new(retry=60.0), new()
        skip_unless(broker.capabilities.extend, "extends nothing")
        skip_unless(not broker.capabilities.fixed_lease, "has leases of one length")
        self.put(broker, b"slow")
        leased = self.one(broker)

        since = Stopwatch()
        broker.extend([leased.receipt], 4 * self.time_unit)
        assert self.one(other).body == b"slow"

        self.at_least(since, 4 * self.time_unit)

    def test_an_ended_lease_is_not_extended(self, new: MakeBroker) -> None:
        """An ended or unknown receipt is ignored."""
        broker, other = new(retry=self.time_unit), new(retry=60.0)
        skip_unless(broker.capabilities.extend, "extends nothing")
        self.put(broker, b"lost")
        expired = self.one(broker)
        current = self.one(other)

        broker.extend([expired.receipt, b"", b"unknown", bytes(16), b"\xff" * 40], 60.0)
        self.settle(other, current, Action.RETRY)
        broker.extend([current.receipt], 60.0)

        assert self.one(other).body == b"lost"

    def test_ended_receipts_do_not_stop_the_others(self, new: MakeBroker) -> None:
        """An ended or unknown receipt is ignored."""
        self.holds(new, lambda receipts: [b"unknown", *receipts, b"unknown too"])

    def holds(self, new: MakeBroker, given: Callable[[list[bytes]], list[bytes]]) -> None:
        """Lease two messages and extend the leases; see that they last longer than they would have."""
        for lease in self.leases(8):
            with lease:
                broker, other = new(retry=lease.seconds, name=lease.name), new(name=lease.name)
                skip_unless(broker.capabilities.extend, "extends nothing")
                self.put(broker, b"slow", b"slower")
                leased = self.some(broker, 2)

                self.let_pass(lease.seconds / 2)
                broker.extend(given([delivery.receipt for delivery in leased]), 60.0)

                lease.lasted()
                self.nothing(other, 0.6 * lease.seconds)
                broker.settle(acks(leased))
                assert broker.size().ready == 0

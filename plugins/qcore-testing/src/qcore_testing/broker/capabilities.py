"""What a broker claims is tried, what it cannot is refused."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from qcore.errors import NotSupported
from qcore.model import Action
from qcore_testing.broker.base import BrokerTests, acks, message, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.broker.base import MakeBroker


class CapabilityRules(BrokerTests):
    """One test for each field of `Capabilities` that no rule tries by itself."""

    def test_a_delay_is_honoured_or_refused(self, new: MakeBroker) -> None:
        """What the capabilities exclude (a delay, `extend`, DEAD_LETTER) is refused with `NotSupported`."""
        broker = new()
        later = message(b"later", delay=60.0)
        if not broker.capabilities.delay:
            with pytest.raises(NotSupported):
                broker.enqueue([later])
        else:
            broker.enqueue([later])
        self.nothing(broker)

    def test_a_lease_is_extended_or_refused(self, new: MakeBroker) -> None:
        """What the capabilities exclude (a delay, `extend`, DEAD_LETTER) is refused with `NotSupported`."""
        broker = new()
        self.put(broker, b"slow")
        leased = self.one(broker)
        if not broker.capabilities.extend:
            with pytest.raises(NotSupported):
                broker.extend([leased.receipt], 60.0)
        else:
            broker.extend([leased.receipt], 60.0)

    def test_a_message_is_dead_lettered_or_refused(self, new: MakeBroker) -> None:
        """What the capabilities exclude (a delay, `extend`, DEAD_LETTER) is refused with `NotSupported`."""
        broker = new()
        self.put(broker, b"hopeless")
        leased = self.one(broker)
        if not broker.capabilities.dead_letters:
            with pytest.raises(NotSupported):
                self.settle(broker, leased, Action.DEAD_LETTER, reason="no")
        else:
            self.settle(broker, leased, Action.DEAD_LETTER, reason="no")
            assert len(broker.dead_letters()) == 1

    def test_the_server_s_time_is_read(self, new: MakeBroker) -> None:
        """Return the epoch seconds that the backend's clock shows; None if it has none of its own.

        It is asked anew by each call.
        """
        broker = new()
        first = broker.server_time()
        if first is None:
            return
        # the years 2020 to 2100, which milliseconds are not in
        assert 1_577_836_800 < first < 4_102_444_800
        assert any(broker.server_time() != first for _ in self.tries())

    def test_claims_agree_with_one_another(self, new: MakeBroker) -> None:
        """Without receipts there is nothing to extend, to count or to dead-letter."""
        can = new().capabilities

        assert can.redelivers or not (can.extend or can.stores_counters or can.dead_letters)
        assert can.max_batch >= 1
        assert can.max_bytes is None or can.max_bytes >= 1024

    def test_a_blocking_lease_is_woken(self, new: MakeBroker, make: MakeBroker) -> None:
        """`lease` waits in the backend, without polling."""
        # a broker that polls would look again after a minute
        consumer = new(poll=60.0)
        skip_unless(consumer.capabilities.long_poll, "polls")

        def produce() -> None:
            # a connection belongs to the thread that made it
            producer = make()
            self.put(producer, b"wake up")
            producer.close()

        producing = threading.Timer(2 * self.time_unit, produce)

        since = Stopwatch()
        producing.start()
        (delivery,) = consumer.lease(1, 40.0)
        producing.join()

        assert delivery.body == b"wake up"
        self.soon(since)

    def test_a_blocking_lease_is_woken_by_other_processes(self, new: MakeBroker) -> None:
        """`lease` waits in the backend, without polling."""
        can = new().capabilities
        skip_unless(can.long_poll, "polls")
        skip_unless(can.cross_process, "is not seen by other processes")

        def consume(send: Callable[[str], None]) -> None:
            broker = new(poll=60.0)
            send("waiting")
            send(f"got {len(broker.lease(1, 40.0))}")

        since = Stopwatch()
        with self.child(consume) as child:
            assert child.line() == "waiting"
            self.let_pass(2 * self.time_unit)
            self.put(new(), b"wake up")
            assert child.line() == "got 1"

        self.soon(since, 2 * self.timeout)

    def test_an_id_that_is_queued_is_not_queued_twice(self, new: MakeBroker) -> None:
        """A second message with an id that is still queued is dropped."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.unique_ids, "does not look at ids")
        sent = message(b"once")

        broker.enqueue([sent, sent])
        other.enqueue([sent])
        leased = self.one(broker)
        other.enqueue([sent])
        self.nothing(other)

        broker.settle(acks([leased]))
        other.enqueue([sent])
        assert self.one(other).body == b"once"

    def test_as_much_as_claimed_goes_in_one_call(self, new: MakeBroker) -> None:
        """`max_batch`: most messages in one call."""
        broker = new()
        # a broker without limit need not be tried with all the memory there is
        count = min(2000, broker.capabilities.max_batch)

        self.put(broker, *numbered(count))
        leased = self.some(broker, count)
        if broker.capabilities.extend:
            broker.extend([delivery.receipt for delivery in leased], 60.0)
        broker.settle(acks(leased))

        assert set(numbered(count)) == {delivery.body for delivery in leased}
        self.nothing(broker)

    def test_the_largest_body_goes_through(self, new: MakeBroker) -> None:
        """`max_bytes`: largest body, None = no limit."""
        broker = new()
        body = bytes(range(256)) * 4096
        body = body[: broker.capabilities.max_bytes]

        self.put(broker, body)

        assert body == self.one(broker).body

    def test_a_status_is_published(self, new: MakeBroker) -> None:
        """Keep sealed bytes about a cluster for `ttl` seconds; b"" removes them."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.cluster_status, "publishes no status")

        broker.publish_status("a", b"first", 60.0)
        broker.publish_status("b", b"\0other\xff", 60.0)
        broker.publish_status("a", b"second", 60.0)
        assert {b"second", b"\0other\xff"} == set(other.statuses())

        broker.publish_status("a", b"", 60.0)
        assert list(other.statuses()) == [b"\0other\xff"]

    def test_an_expired_status_is_not_shown(self, new: MakeBroker) -> None:
        """Return what is published and not expired."""
        broker = new()
        skip_unless(broker.capabilities.cluster_status, "publishes no status")

        broker.publish_status("a", b"short", self.time_unit)
        broker.publish_status("b", b"long", 60.0)

        assert any(list(new().statuses()) == [b"long"] for _ in self.tries())

    def test_without_status_there_are_none(self, new: MakeBroker) -> None:
        """Return what is published and not expired."""
        broker = new()
        skip_unless(not broker.capabilities.cluster_status, "publishes a status")

        assert list(broker.statuses()) == []

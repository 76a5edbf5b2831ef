"""Rules of `Broker.enqueue`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from qcore.errors import PayloadTooLarge
from qcore_testing.broker.base import BrokerTests, acks, bodies, chunks, message, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.broker.base import MakeBroker


class EnqueueRules(BrokerTests):
    """What becomes of messages that are put in."""

    def test_accepted_messages_survive_the_producer(self, new: MakeBroker) -> None:
        """When it returns, every message survives the death of the calling process."""
        skip_unless(new().capabilities.cross_process, "is not seen by other processes")

        def produce(send: Callable[[str], None]) -> None:
            broker = new()
            self.put(broker, b"one", b"two")
            send("accepted")
            signal.pause()

        with self.child(produce) as child:
            assert child.line() == "accepted"
            child.kill()

        assert {b"one", b"two"} == set(bodies(self.some(new(), 2)))

    def test_all_are_accepted_or_an_error_is_raised(self, new: MakeBroker) -> None:
        """Either all are accepted or an error is raised."""
        broker = new()
        sent = numbered(min(25, broker.capabilities.max_batch))

        self.put(broker, *sent)

        assert sorted(sent) == sorted(bodies(self.some(broker, len(sent))))

    def test_more_than_fits_one_request_is_split(self, new: MakeBroker) -> None:
        """Any number of messages is taken; the broker splits them by itself."""
        broker = new()
        most = broker.capabilities.max_batch
        sent = numbered(most + 1)

        self.put(broker, *sent)

        assert sorted(sent) == sorted(bodies(self.some(broker, len(sent))))

    def test_an_empty_call_changes_nothing(self, new: MakeBroker) -> None:
        """An empty sequence is accepted and changes nothing."""
        broker = new()
        self.put(broker, b"alone")

        broker.enqueue([])

        assert bodies(self.some(broker, 1)) == [b"alone"]
        self.nothing(broker)

    def test_a_message_too_large_raises_an_error(self, new: MakeBroker) -> None:
        """Either all are accepted or an error is raised."""
        broker = new()
        most = broker.capabilities.max_bytes
        skip_unless(most, "takes messages of any size")

        with pytest.raises(PayloadTooLarge):
            self.put(broker, bytes((most or 0) + 1))

    def test_messages_are_leased_in_the_order_they_came(self, new: MakeBroker) -> None:
        """Order is kept.

        Messages without delay are leased in the order they were accepted, as far as the
        backend keeps order at all.
        """
        skip_unless(self.ordered, "keeps no order")
        broker, other = new(), new()
        sent = numbered(12)
        for batch in chunks(sent, 4):
            self.put(broker, *batch)

        leased = [self.one(other).body for _ in range(5)]
        leased += bodies(self.some(other, 7))

        assert sent == leased

    def test_a_delayed_message_waits(self, new: MakeBroker) -> None:
        """A message is not leased before its delay is over."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.delay, "delays nothing")
        since = Stopwatch()
        self.put(broker, b"later", delay=4 * self.time_unit)

        assert self.not_before(other, since, 4 * self.time_unit).body == b"later"

    def test_a_delayed_message_does_not_hold_up_others(self, new: MakeBroker) -> None:
        """A message is not leased before its delay is over."""
        broker = new()
        skip_unless(broker.capabilities.delay, "delays nothing")

        broker.enqueue([message(b"later", delay=60.0), message(b"now")])

        assert self.one(broker).body == b"now"
        self.nothing(broker)

    def test_bodies_come_back_as_they_were(self, new: MakeBroker) -> None:
        """A queue of opaque signed bytes; it knows nothing of tasks, results or retries."""
        broker = new()
        every_byte = bytes(range(256))
        sent = [every_byte, b"", b"\0", b"\n\r\n", "text \N{SNOWMAN}".encode(), every_byte * 8]

        for body in sent:
            self.put(broker, body)
            delivery = self.one(broker)
            broker.settle(acks([delivery]))
            assert body == delivery.body

    def test_nothing_to_do_is_nothing_done(self, new: MakeBroker) -> None:
        """Empty sequences are taken by every method and change nothing."""
        broker = new()

        broker.enqueue([])
        broker.settle([])
        if broker.capabilities.extend:
            broker.extend([], 10.0)

        assert list(broker.lease(0, 0.0)) == []
        assert (broker.requeue([]), broker.delete([])) == (0, 0)
        assert broker.size().ready == 0

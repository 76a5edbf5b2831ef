"""Whether a slot's messages and its schedule are written in one step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from qcore.model import Outgoing
from qcore_testing.broker.base import BrokerTests, bodies
from qcore_testing.contract import MOMENTS, skip_unless
from qcore_testing.schedules import advanced, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker, ScheduleStore


class MakeFiring(Protocol):
    """The fixture `make` of `FireContract`."""

    def __call__(self, *, retry: float = ..., poll: float = ...) -> tuple[Broker, ScheduleStore]:
        """Return a new broker of the one queue and a new store of its schedules."""


class FireContract(BrokerTests):
    """What `ScheduleStore.fire` must keep to when it enqueues and advances in one step.

    Override the fixture `make`: it returns a function that takes fields of
    `qcore.interfaces.Settings` and returns a broker and a store with the same `transaction_domain`.
    """

    def test_they_share_a_backend(self, new: MakeFiring) -> None:
        """`transaction_domain`: a store with the same one can be written in one step with it."""
        broker, store = new()

        assert broker.capabilities.transaction_domain is not None
        assert broker.capabilities.transaction_domain == store.transaction_domain

    def test_a_slot_fires_once(self, new: MakeFiring) -> None:
        """With a broker of the same backend it is one step: both are done, or neither."""
        broker, store = new()
        store.add(schedule("nightly"))
        (before,) = store.claim_due(time.time(), 1, 60.0)
        after = advanced(before, 3600.0)
        messages = [Outgoing(bytes(16), b"one"), Outgoing(bytes([1] * 16), b"two" * 10_000)]

        assert store.fire(broker, messages, before, after) is True
        again, other = new()
        assert other.fire(again, messages, before, after) is False

        assert [after] == list(store.all())
        assert bodies(self.some(broker, 2)) == [b"one", b"two" * 10_000]
        self.nothing(broker)

    def test_a_slot_may_ask_for_nothing_or_for_later(self, new: MakeFiring) -> None:
        """Enqueue what a slot asks for and advance its schedule."""
        broker, store = new()
        store.add(schedule("nightly"))
        (before,) = store.claim_due(time.time(), 1, 60.0)
        after = advanced(before, 10.0)

        assert store.fire(broker, [], before, after) is True
        later = [Outgoing(bytes(16), b"later", self.time_unit)] if broker.capabilities.delay else []
        assert store.fire(broker, later, after, None) is True

        assert list(store.all()) == []
        if later:
            assert bodies(self.some(broker, 1)) == [b"later"]

    def test_a_slot_fires_once_whoever_dies(self, new: MakeFiring) -> None:
        """With a broker of the same backend it is one step: both are done, or neither."""
        skip_unless(new()[0].capabilities.cross_process, "is not seen by other processes")
        start = schedule("nightly", due=-1000.0)
        new()[1].add(start)

        def work(send: Callable[[str], None]) -> None:
            broker, store = new()
            while claimed := store.claim_due(time.time(), 1, self.time_unit / 10):
                (before,) = claimed
                body = b"%d" % (before.next_run - start.next_run)
                store.fire(
                    broker,
                    [Outgoing(body.rjust(16, b"0"), body)],
                    before,
                    advanced(before, 1.0, body or b"-"),
                )
                send("fired")

        for at in MOMENTS:
            with self.child(work) as child:
                self.kill_amid(child, 10, at)

        broker, store = new()
        (left,) = store.all()
        fired = int(left.next_run - start.next_run)
        assert fired >= 10
        assert [b"%d" % slot for slot in range(fired)] == bodies(self.some(broker, fired))
        self.nothing(broker)

"""Rules of `Broker.settle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests, acks, bodies, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from qcore_testing.broker.base import MakeBroker


class SettleRules(BrokerTests):
    """How leases end."""

    @pytest.fixture(autouse=True)
    def _receipts(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in vars(SettleRules):
            new: MakeBroker = request.getfixturevalue("new")
            skip_unless(new().capabilities.redelivers, "gives no receipts")

    def test_ack_removes(self, new: MakeBroker) -> None:
        """ACK removes the message for good."""
        for lease in self.leases():
            with lease:
                broker, other = new(retry=lease.seconds, name=lease.name), new(name=lease.name)
                self.put(broker, b"done", b"not yet")
                first, second = self.some(broker, 2)

                self.settle(broker, first, Action.ACK)

                lease.lasted()
                again = self.one(other)
                assert second.body == again.body
                self.settle(other, again, Action.ACK)
                self.nothing(other, 3 * lease.seconds)
                assert other.size().ready == 0

    def test_retry_presents_it_again(self, new: MakeBroker) -> None:
        """RETRY redelivers it after `delay`, with the counters given."""
        broker, other = new(), new()
        self.put(broker, b"failed")
        first = self.one(broker)

        self.settle(broker, first, Action.RETRY, failures=3, crashes=2)
        second = self.one(other)

        assert second.body == b"failed"
        assert first.receipt != second.receipt
        if broker.capabilities.stores_counters:
            assert (second.deliveries, second.failures, second.crashes) == (2, 3, 2)

    def test_retry_waits(self, new: MakeBroker) -> None:
        """RETRY redelivers it after `delay`, with the counters given."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.retry_delay, "delays no settlement")
        self.put(broker, b"failed")

        leased = self.one(broker)
        since = Stopwatch()
        self.settle(broker, leased, Action.RETRY, delay=4 * self.time_unit)

        self.not_before(other, since, 4 * self.time_unit)

    def test_counters_are_absolute(self, new: MakeBroker) -> None:
        """RETRY redelivers it after `delay`, with the counters given."""
        broker = new()
        skip_unless(broker.capabilities.stores_counters, "does not count")
        self.put(broker, b"failed")

        self.settle(broker, self.one(broker), Action.RETRY, failures=7, crashes=1)
        self.settle(broker, self.one(broker), Action.RETRY, failures=2, crashes=0)
        last = self.one(broker)

        assert (last.failures, last.crashes) == (2, 0)

    def test_counters_outlive_a_lost_lease(self, new: MakeBroker) -> None:
        """RETRY redelivers it after `delay`, with the counters given."""
        for lease in self.leases():
            with lease:
                broker = new(retry=lease.seconds, name=lease.name)
                skip_unless(broker.capabilities.stores_counters, "does not count")
                self.put(broker, b"failed")
                self.settle(broker, self.one(broker), Action.RETRY, failures=5, crashes=1)

                lease.lasted()
                self.one(broker)
                last = self.one(broker)
                assert (last.deliveries, last.failures, last.crashes) == (3, 5, 1)

    def test_release_is_as_if_never_leased(self, new: MakeBroker) -> None:
        """RELEASE redelivers it after `delay`; this lease is not counted in `deliveries`."""
        broker, other = new(), new()
        self.put(broker, b"untouched")
        self.settle(broker, self.one(broker), Action.RETRY, failures=4, crashes=1)

        for _ in range(3):
            self.settle(broker, self.one(broker), Action.RELEASE)
        last = self.one(other)

        assert last.body == b"untouched"
        if broker.capabilities.stores_counters:
            assert (last.deliveries, last.failures, last.crashes) == (2, 4, 1)

    def test_release_waits(self, new: MakeBroker) -> None:
        """RELEASE redelivers it after `delay`; this lease is not counted in `deliveries`."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.retry_delay, "delays no settlement")
        self.put(broker, b"untouched")

        leased = self.one(broker)
        since = Stopwatch()
        self.settle(broker, leased, Action.RELEASE, delay=4 * self.time_unit)

        again = self.not_before(other, since, 4 * self.time_unit)
        if broker.capabilities.stores_counters:
            assert again.deliveries == 1

    def test_a_dead_letter_keeps_reason_and_counters(self, new: MakeBroker) -> None:
        """DEAD_LETTER keeps it among the dead letters with its reason and counters."""
        skip_unless(new().capabilities.dead_letters, "keeps no dead letters")
        reason = "it failed 5 times: ValueError: \N{SNOWMAN}"

        for lease in self.leases():
            with lease:
                broker, other = new(retry=lease.seconds, name=lease.name), new(name=lease.name)
                self.put(broker, b"hopeless")
                leased = self.one(broker)
                self.settle(broker, leased, Action.DEAD_LETTER, reason=reason, failures=5, crashes=2)

                lease.lasted()
                (letter,) = other.dead_letters()
                assert (b"hopeless", reason) == (letter.body, letter.reason)
                assert (letter.failures, letter.crashes) == (5, 2)
                self.nothing(other, 3 * lease.seconds)

    @pytest.mark.parametrize("action", list(Action))
    def test_a_settlement_may_be_repeated(self, new: MakeBroker, action: Action) -> None:
        """Repeating a settlement changes nothing."""
        broker, other = new(), new()
        skip_unless(
            action is not Action.DEAD_LETTER or broker.capabilities.dead_letters, "keeps no dead letters"
        )
        self.put(broker, b"settled")
        leased = self.one(broker)

        for _ in range(3):
            self.settle(broker, leased, action, reason="once")
        self.settle(other, leased, action, reason="once")

        left = bodies(other.lease(min(5, other.capabilities.max_batch), self.time_unit))
        assert ([b"settled"] if action in (Action.RETRY, Action.RELEASE) else []) == left
        if broker.capabilities.dead_letters:
            assert (action is Action.DEAD_LETTER) == len(broker.dead_letters())

    @pytest.mark.parametrize("action", list(Action))
    def test_an_expired_receipt_changes_nothing(self, new: MakeBroker, action: Action) -> None:
        """A receipt whose lease has ended, or that never was one, is ignored."""
        broker, other, third = new(retry=self.time_unit), new(retry=60.0), new()
        skip_unless(broker.capabilities.fencing, "lets a settlement of an expired lease through")
        skip_unless(
            action is not Action.DEAD_LETTER or broker.capabilities.dead_letters, "keeps no dead letters"
        )
        self.put(broker, b"passed on")
        expired = self.one(broker)
        current = self.one(other)

        self.settle(broker, expired, action, reason="too late", failures=9)

        # it is still the other's, and only its settlement counts
        self.nothing(third, self.time_unit)
        self.settle(other, current, Action.RETRY, failures=1)
        again = self.one(third)
        assert again.body == b"passed on"
        if broker.capabilities.stores_counters:
            assert (again.deliveries, again.failures) == (3, 1)
        if broker.capabilities.dead_letters:
            assert list(broker.dead_letters()) == []

    @pytest.mark.parametrize("action", list(Action))
    def test_a_receipt_that_never_was_is_passed_over(self, new: MakeBroker, action: Action) -> None:
        """A receipt whose lease has ended, or that never was one, is ignored."""
        broker = new()
        skip_unless(
            action is not Action.DEAD_LETTER or broker.capabilities.dead_letters, "keeps no dead letters"
        )
        self.put(broker, b"mine", b"waiting")
        mine = self.one(broker)
        strange = [b"", b"unknown", bytes(16), b"\xff" * 40, mine.receipt + b"0", b"../../etc/passwd"]

        broker.settle([Settlement(receipt, action) for receipt in strange])
        broker.settle([Settlement(b"unknown", action), Settlement(mine.receipt), Settlement(b"", action)])

        assert self.one(broker).body == b"waiting"
        self.nothing(broker)

    def test_a_mixed_batch_is_settled_one_by_one(self, new: MakeBroker) -> None:
        """RETRY redelivers it after `delay`, with the counters given."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        self.put(broker, *numbered(4))
        leased = {delivery.body: delivery for delivery in self.some(broker, 4)}

        broker.settle(
            [
                Settlement(leased[body].receipt, action)
                for body, action in zip(numbered(4), Action, strict=True)
            ]
        )

        # ACK, RETRY, RELEASE and DEAD_LETTER, in this order
        assert sorted(numbered(4)[1:3]) == sorted(bodies(self.some(other, 2)))
        self.nothing(other)
        assert numbered(4)[3:] == [letter.body for letter in other.dead_letters()]

    def test_a_mixed_batch_with_ended_leases_is_settled(self, new: MakeBroker) -> None:
        """A receipt whose lease has ended, or that never was one, is ignored."""
        broker, other = new(), new()
        self.put(broker, *numbered(3))
        ended, *held = self.some(broker, 3)
        self.settle(broker, ended, Action.ACK)

        broker.settle([Settlement(one.receipt, Action.RETRY) for one in (ended, *held)])

        assert bodies(self.some(other, 2)) == bodies(held)
        self.nothing(other)

    def test_nothing_settled_or_extended_changes_nothing(self, new: MakeBroker) -> None:
        """An empty sequence changes nothing."""
        broker, other = new(), new()
        self.put(broker, b"held")
        leased = self.one(broker)

        broker.settle([])
        if broker.capabilities.extend:
            broker.extend([], 600.0)

        self.nothing(other)
        self.settle(broker, leased, Action.RETRY)
        assert bodies(self.some(other, 1)) == [b"held"]

    def test_another_connection_may_settle(self, new: MakeBroker) -> None:
        """A receipt is good for every connection of every process that leads to the same queue."""
        for lease in self.leases(2):
            with lease:
                broker, other = new(retry=lease.seconds, name=lease.name), new(name=lease.name)
                self.put(broker, b"of one that died")
                leased = self.one(broker)
                broker.close()

                other.settle(acks([leased]))

                lease.lasted()
                self.nothing(other, 2 * lease.seconds)

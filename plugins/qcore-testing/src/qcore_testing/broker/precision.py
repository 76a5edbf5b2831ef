"""Numbers come back as they were: counters, fractions of seconds, reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import Action
from qcore_testing.broker.base import BrokerTests
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from qcore_testing.broker.base import MakeBroker

#: counters beyond what 16 bits hold
_FAILURES: Final = 70_000
_CRASHES: Final = 66_000


class PrecisionRules(BrokerTests):
    """What a field too small, or a number made whole, would change."""

    def test_large_counters_come_back(self, new: MakeBroker) -> None:
        """Counters up to 2,147,483,647 come back as they were given."""
        broker = new()
        skip_unless(broker.capabilities.stores_counters, "does not count")
        self.put(broker, b"failed")

        self.settle(broker, self.one(broker), Action.RETRY, failures=_FAILURES, crashes=_CRASHES)
        again = self.one(broker)
        assert (again.failures, again.crashes) == (_FAILURES, _CRASHES)

        if broker.capabilities.dead_letters:
            self.settle(broker, again, Action.DEAD_LETTER, failures=2**31 - 1, crashes=_CRASHES)
            (letter,) = broker.dead_letters()
            assert (letter.failures, letter.crashes) == (2**31 - 1, _CRASHES)

    def test_a_fraction_of_a_second_is_not_cut_off(self, new: MakeBroker) -> None:
        """Delays and leases may be rounded up to whole seconds, never down."""
        part = 1.5 * self.time_unit
        broker, other = new(retry=part), new()
        can = broker.capabilities
        if can.delay:
            since = Stopwatch()
            self.put(broker, b"delayed", delay=part)
            self.one(other)
            self.at_least(since, part)
        if not can.redelivers:
            return
        self.put(broker, b"leased")
        since = Stopwatch()
        self.one(broker)
        self.one(broker)
        self.at_least(since, part)

    def test_a_fraction_of_a_second_of_a_settlement_is_not_cut_off(self, new: MakeBroker) -> None:
        """Delays and leases may be rounded up to whole seconds, never down."""
        part = 1.5 * self.time_unit
        broker = new()
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        skip_unless(broker.capabilities.retry_delay, "delays no settlement")
        self.put(broker, b"one", b"two")
        one, two = self.some(broker, 2)

        since = Stopwatch()
        self.settle(broker, one, Action.RETRY, delay=part)
        self.settle(broker, two, Action.RELEASE, delay=part)
        self.one(broker)
        self.at_least(since, part)
        self.one(broker)

    def test_a_long_reason_is_kept_or_shortened(self, new: MakeBroker) -> None:
        """A reason has at most 5,000 characters; a broker without room for it keeps its beginning."""
        broker = new()
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        reason = ("it failed: " + "\N{SNOWMAN} \x00\n" * 2000)[:5000]
        self.put(broker, b"hopeless")

        self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason=reason)
        (letter,) = broker.dead_letters()

        # a character that a backend cannot write may be written in another way
        assert letter.reason.startswith("it failed: \N{SNOWMAN} ")
        assert len(letter.reason) >= 200, f"{len(letter.reason)} characters are left of 5,000"

"""What the tests of a broker do over and over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from qcore.model import Action, Outgoing, Settlement
from qcore_testing.contract import Contract, Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery
    from qcore_queues.order import QueueOrder


#: part of a lease within which something is sure to be done while it lasts
_MOST: Final = 0.7


class MakeBroker(Protocol):
    """The fixture `make` of `BrokerContract`."""

    def __call__(
        self,
        *,
        name: str = ...,
        retry: float = ...,
        poll: float = ...,
        owner: bytes = ...,
        replay_window: float = ...,
        replay_limit: int = ...,
        queues: QueueOrder | None = ...,
        left_out: Container[str] | None = ...,
    ) -> Broker:
        """Return a new broker of the one queue of this test."""


class BrokerTests(Contract):
    """Short words for a broker's tests."""

    #: whether the backend keeps order at all
    ordered: ClassVar[bool] = True

    def put(self, broker: Broker, *bodies: bytes, delay: float = 0.0) -> None:
        """Enqueue messages with these bodies."""
        broker.enqueue([message(body, delay=delay) for body in bodies])

    def one(self, broker: Broker) -> Delivery:
        """Lease the one message that must be there or come by itself."""
        (delivery,) = self.some(broker, 1)
        return delivery

    def some(self, broker: Broker, count: int) -> list[Delivery]:
        """Lease so many messages, which must be there or come by themselves."""
        found: list[Delivery] = []
        for left in self.deadline():
            found += broker.lease(min(count - len(found), broker.capabilities.max_batch), left)
            if len(found) >= count:
                return found
        raise AssertionError(f"{len(found)} of {count} messages came within {self.timeout:.0f} seconds")

    def nothing(self, broker: Broker, seconds: float = 0.0) -> None:
        """See that no message can be leased for so long."""
        assert [delivery.body for delivery in broker.lease(1, seconds)] == []

    def not_before(self, broker: Broker, since: Stopwatch, seconds: float) -> Delivery:
        """Lease the one message that comes by itself, and see that it does not come too early.

        At first for a short time. How early that ends depends on the machine, so the message may be there.
        """
        (delivery,) = broker.lease(1, self.time_unit) or [self.one(broker)]
        self.at_least(since, seconds)
        return delivery

    def leases(self, units: float = 1.0) -> Iterator[LeaseTry]:
        """Yield tries of what has to be done while leases last, until one was fast enough or succeeded.

        Each is a context, in which everything is asserted. On a slow machine a lease could end before
        it is settled: what fails after most of a lease is tried again with longer ones, in another queue.
        """
        for number, name in enumerate(("kit", "kit2", "kit3")):
            one = LeaseTry(units * self.time_unit * 4**number, name, last=name == "kit3")
            yield one
            if not one.again:
                return

    def settle(self, broker: Broker, delivery: Delivery, action: Action, **fields: object) -> None:
        """End one lease."""
        broker.settle([Settlement(delivery.receipt, action, **fields)])  # type: ignore[arg-type]  # its fields

    def dead_letter(self, broker: Broker, *bodies: bytes, reason: str = "of no use") -> None:
        """Enqueue messages and dead-letter them, one after the other."""
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        for body in bodies:
            self.put(broker, body)
            self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason=reason)


class LeaseTry:
    """One try of what has to be done while leases last, see `BrokerTests.leases`.

    seconds: the length of its leases, for `Settings.retry`.
    name: the queue of this try, for `Settings.name`.
    last: what fails is not tried again.
    """

    def __init__(self, seconds: float, name: str, *, last: bool) -> None:
        self.seconds = seconds
        self.name = name
        #: whether it was too slow to tell anything
        self.again = False
        self._last = last
        self._since = Stopwatch()
        self._lasted = False

    def __enter__(self) -> None:
        self._since = Stopwatch()

    def lasted(self) -> None:
        """Say that the leases are still held: what follows may take any time, and must be right."""
        assert not self._slow, f"this machine is too slow for leases of {self.seconds:.1f} s"
        self._lasted = True

    def __exit__(self, kind: type[BaseException] | None, value: object, where: object) -> bool:
        failed = kind is not None and issubclass(kind, Exception)
        self.again = failed and self._slow and not self._lasted and not self._last
        return self.again

    @property
    def _slow(self) -> bool:
        return self._since.seconds >= _MOST * self.seconds


def message(body: bytes, *, delay: float = 0.0, queue: str = "", priority: int = 0) -> Outgoing:
    """Return a message of its own id."""
    return Outgoing(os.urandom(16), body, delay, queue, priority)


def bodies(deliveries: Iterable[Delivery]) -> list[bytes]:
    """Return the bodies in the order they were handed out."""
    return [delivery.body for delivery in deliveries]


def acks(deliveries: Iterable[Delivery]) -> list[Settlement]:
    """Return settlements that remove the messages."""
    return [Settlement(delivery.receipt) for delivery in deliveries]


def numbered(count: int) -> list[bytes]:
    """Return so many different bodies."""
    return [b"%05d" % number for number in range(count)]


def chunks(items: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    """Cut a sequence into pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]

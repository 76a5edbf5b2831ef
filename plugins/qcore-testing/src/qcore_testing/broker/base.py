"""What the tests of a broker do over and over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Protocol

from qcore.model import Action, Outgoing, Settlement
from qcore_testing.contract import Contract, skip_unless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery


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

    def settle(self, broker: Broker, delivery: Delivery, action: Action, **fields: object) -> None:
        """End one lease."""
        broker.settle([Settlement(delivery.receipt, action, **fields)])  # type: ignore[arg-type]  # its fields

    def dead_letter(self, broker: Broker, *bodies: bytes, reason: str = "of no use") -> None:
        """Enqueue messages and dead-letter them, one after the other."""
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        for body in bodies:
            self.put(broker, body)
            self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason=reason)


def message(body: bytes, *, delay: float = 0.0) -> Outgoing:
    """Return a message of its own id."""
    return Outgoing(os.urandom(16), body, delay)


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

"""What becomes of messages of the outbox that the broker refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore.model import Action, Delivery, Settlement
from qcore.supervision.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Outgoing


class Outbox:
    """Remembers how leases ended."""

    def __init__(self) -> None:
        self.ends: dict[bytes, Settlement] = {}

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases."""
        for one in settlements:
            assert one.receipt not in self.ends, "a lease ends once"
            self.ends[one.receipt] = one


class Choosy:
    """Refuses messages by their last byte."""

    def __init__(self, refuse: Callable[[bytes], Exception | None]) -> None:
        self._refuse = refuse
        self.tried = 0

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept one message, or refuse it."""
        self.tried += 1
        (one,) = messages
        if (error := self._refuse(one.body[-1:])) is not None:
            raise error


def delivered(names: bytes) -> list[Delivery]:
    """Return leased messages with these last bytes."""
    return [Delivery(bytes(58) + bytes([name]), bytes([name])) for name in names]


def move(names: bytes, refuse: Callable[[bytes], Exception | None]) -> tuple[dict[bytes, Any], Choosy]:
    """Move messages of a batch that was refused; return how each ended, and the broker."""
    outbox, broker = Outbox(), Choosy(refuse)
    relay = object.__new__(Relay)
    try:
        relay._move_each(outbox, broker, delivered(names))  # type: ignore[arg-type]  # of what they need
    finally:
        assert set(outbox.ends) == {bytes([name]) for name in names}, "each lease ends"
    return {name: (one.action, one.delay > 0) for name, one in outbox.ends.items()}, broker


def test_one_that_is_refused_is_tried_again_later() -> None:
    """The others are moved."""
    ends, _ = move(b"abc", lambda name: BackendRejected("no") if name == b"b" else None)

    assert ends == {b"a": (Action.ACK, False), b"b": (Action.RELEASE, True), b"c": (Action.ACK, False)}


def test_one_that_is_too_large_is_a_dead_letter() -> None:
    """It can never be moved."""
    ends, _ = move(b"abc", lambda name: PayloadTooLarge("no") if name == b"a" else None)

    assert ends[b"a"] == (Action.DEAD_LETTER, False)
    assert ends[b"b"] == ends[b"c"] == (Action.ACK, False)


def test_what_is_refused_at_the_head_does_not_hold_up_the_rest() -> None:
    """After three the others are not tried; next time they are, because those three come later."""
    outbox, broker = Outbox(), Choosy(lambda name: BackendRejected("no") if name in b"abc" else None)
    relay = object.__new__(Relay)
    with pytest.raises(BackendRejected):
        relay._move_each(outbox, broker, delivered(b"abcdef"))  # type: ignore[arg-type]  # as above

    assert broker.tried == 3
    assert [outbox.ends[name].delay > 0 for name in (b"a", b"b", b"c")] == [True] * 3
    assert [(outbox.ends[name].action, outbox.ends[name].delay) for name in (b"d", b"e", b"f")] == [
        (Action.RELEASE, 0.0)
    ] * 3


def test_a_broker_that_goes_away_leaves_the_rest() -> None:
    """What was refused before keeps its wait."""
    errors = {b"a": BackendRejected("no"), b"c": BackendUnavailable("away")}
    outbox, broker = Outbox(), Choosy(errors.get)
    relay = object.__new__(Relay)
    with pytest.raises(BackendUnavailable):
        relay._move_each(outbox, broker, delivered(b"abcd"))  # type: ignore[arg-type]  # as above

    assert {name: (one.action, one.delay > 0) for name, one in outbox.ends.items()} == {
        b"a": (Action.RELEASE, True),
        b"b": (Action.ACK, False),
        b"c": (Action.RELEASE, False),
        b"d": (Action.RELEASE, False),
    }

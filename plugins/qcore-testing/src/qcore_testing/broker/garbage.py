"""Bytes that nobody signed: handed out, settled and listed like any others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.broker.base import MakeBroker

#: bodies that look like nothing, or nearly like something that a broker writes by itself
STRANGE: Final = (
    b"",
    b"\0",
    b"\x01",
    b"\x01" + bytes(16),
    b"\x01" + b"\xff" * 40,
    b"\x01" + b"\x7f\xf0" * 20,
    b"\x02\x03\x04",
    b"=",
    b"AQ==",
    b"{}",
    b"Qc",
    b"Qc" + b"\xff" * 90,
    b"\xed\xa0\x80",
    b"\r\n" * 10,
)
#: a text that no encoding takes as it is, and that would forge a line of a log
REASON: Final = "no\ud800\0\nline"


class GarbageRules(BrokerTests):
    """What anybody may put into the backend stops nobody."""

    @pytest.fixture
    def put_raw(self) -> Callable[[bytes], None] | None:
        """Return a function that puts bytes into the queue past the broker; None = there is none."""
        return None

    def test_bytes_that_nobody_signed_are_handed_on(
        self, new: MakeBroker, put_raw: Callable[[bytes], None] | None
    ) -> None:
        """A message of any bytes is leased and can be dead-lettered, whoever has put it there."""
        broker = new()
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        self.put(broker, *STRANGE)
        if put_raw is not None:
            for body in STRANGE:
                put_raw(body)
        self.put(broker, b"good")
        count = len(STRANGE) * (1 if put_raw is None else 2) + 1

        leased = self.some(broker, count)
        assert all(type(one.body) is bytes and type(one.receipt) is bytes for one in leased)
        assert all(0 <= number < 2**31 for one in leased for number in (one.failures, one.crashes))
        assert all(one.deliveries >= 1 for one in leased)
        found = [one.body for one in leased]
        assert b"good" in found
        assert not [body for body in STRANGE if body not in found]

        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason=REASON) for one in leased])
        letters = broker.dead_letters(1000)
        assert sorted(letter.body for letter in letters) == sorted(found)
        assert all(0 <= letter.dead_since < 253_402_300_800 for letter in letters)
        assert all(letter.reason.startswith("no") for letter in letters)
        assert broker.requeue([letter.id for letter in letters]) == count
        self.some(broker, count)

"""Receipts are valid everywhere, and one that is not harms nobody."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests, bodies, numbered
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker

#: receipts that never were one
STRANGE = (b"", b"unknown", bytes(16), b"\xff" * 40, b"../../etc/passwd")


class ReceiptRules(BrokerTests):
    """Who may use a receipt: a supervisor ends and extends the leases of its workers."""

    @pytest.mark.parametrize("where", ["another connection", "another process"])
    def test_a_lease_is_ended_from_elsewhere(self, new: MakeBroker, where: str) -> None:
        """A receipt is good for every connection of every process that leads to the same queue."""
        broker = self.leasing(new)
        actions = [action for action in Action if self.can(broker, action)]
        self.put(broker, *numbered(len(actions)))
        leased = sorted(self.some(broker, len(actions)), key=lambda one: one.body)
        ends = [Settlement(one.receipt, action) for one, action in zip(leased, actions, strict=True)]

        with self.elsewhere(new, where) as act:
            for one in ends:
                act(one.action.name, one.receipt)

        # ACK, RETRY, RELEASE and DEAD_LETTER, in this order
        back = bodies(self.some(broker, 2))
        assert sorted(back) == numbered(4)[1:3], f"from {where}, RETRY and RELEASE gave {back}"
        self.nothing(broker)
        if broker.capabilities.dead_letters:
            assert [letter.body for letter in broker.dead_letters()] == numbered(4)[3:]

    @pytest.mark.parametrize("where", ["another connection", "another process"])
    def test_a_lease_is_extended_from_elsewhere(self, new: MakeBroker, where: str) -> None:
        """A receipt is good for every connection of every process that leads to the same queue."""
        skip_unless(self.leasing(new).capabilities.extend, "extends nothing")
        for lease in self.leases(8):
            with self.elsewhere(new, where, lease.name) as act, lease:
                broker = new(retry=lease.seconds, name=lease.name)
                self.put(broker, b"slow")
                leased = self.one(broker)
                self.let_pass(lease.seconds / 2)
                act("extend", leased.receipt)

                lease.lasted()
                self.nothing(broker, 0.6 * lease.seconds)

    def test_strange_receipts_do_not_stop_the_others(self, new: MakeBroker) -> None:
        """A receipt whose lease has ended, or that never was one, is ignored."""
        broker = self.leasing(new)
        self.put(broker, *numbered(2))
        first, second = self.some(broker, 2)
        strange = [Settlement(receipt, Action.RETRY) for receipt in (*STRANGE, first.receipt + b"0")]

        broker.settle([*strange, Settlement(first.receipt, Action.RETRY), *strange])
        broker.settle([*strange, Settlement(second.receipt, Action.RELEASE), *strange])

        assert sorted(bodies(self.some(broker, 2))) == numbered(2)

    def leasing(self, new: MakeBroker, retry: float = 60.0) -> Broker:
        """Return a broker that gives receipts."""
        broker = new(retry=retry)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        return broker

    def can(self, broker: Broker, action: Action) -> bool:
        """Return whether a lease can be ended like that."""
        return action is not Action.DEAD_LETTER or broker.capabilities.dead_letters

    @contextmanager
    def elsewhere(
        self, new: MakeBroker, where: str, name: str = "kit"
    ) -> Iterator[Callable[[str, bytes], None]]:
        """Yield what acts on a receipt by another connection, of this process or of another."""
        if where == "another connection":
            other = new(name=name)
            yield lambda verb, receipt: act_on(other, verb, receipt)
            return
        skip_unless(new().capabilities.cross_process, "is not seen by other processes")
        read, write = os.pipe()

        def work(tell: Callable[[str], None]) -> None:
            os.close(write)
            broker = new(name=name)
            broker.size()
            tell("connected")
            with open(read, encoding="ascii") as lines:  # noqa: PTH123 - a pipe
                for line in lines:
                    verb, receipt = line.rstrip("\n").split(" ")
                    act_on(broker, verb, bytes.fromhex(receipt))
                    tell("done")

        with self.child(work) as child, open(write, "w", encoding="ascii") as orders:  # noqa: PTH123 - as above
            os.close(read)
            assert child.line() == "connected"

            def act(verb: str, receipt: bytes) -> None:
                print(verb, receipt.hex(), file=orders, flush=True)
                assert child.line() == "done", f"{verb} by another process failed, see its standard error"

            yield act


def act_on(broker: Broker, verb: str, receipt: bytes) -> None:
    """End or extend one lease."""
    if verb == "extend":
        broker.extend([receipt], 600.0)
    else:
        broker.settle([Settlement(receipt, Action[verb])])

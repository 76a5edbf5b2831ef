"""Processes die at any moment; no message is lost or doubled."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import pytest

from qcore.model import Action, Settlement
from qcore.testing.broker.bench import BrokerBench, acks, chunks, numbered
from qcore.testing.contract import needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker
    from qcore.testing.broker.bench import MakeBroker


class CrashRules(BrokerBench):
    """What is left when a process is killed with SIGKILL."""

    #: messages in a test that kills at a moment it does not choose
    crowd: ClassVar[int] = 240

    @pytest.fixture(autouse=True)
    def _processes(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in vars(CrashRules):
            new: MakeBroker = request.getfixturevalue("new")
            needs(new().capabilities.processes, "is not seen by other processes")
            needs(new().capabilities.receipts, "gives no receipts")

    def test_a_message_outlives_the_consumer(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        self.put(new(), b"held by the dead")

        def consume(tell: Callable[[str], None]) -> None:
            tell(self.one(new(retry=8 * self.tick)).body.decode())
            signal.pause()

        with self.child(consume) as child:
            assert child.line() == "held by the dead"
            child.kill()

        self.nothing(new())
        assert self.one(new()).body == b"held by the dead"

    def test_a_waiting_consumer_takes_nothing_with_it(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""

        def consume(tell: Callable[[str], None]) -> None:
            broker = new(retry=self.tick)
            tell("waiting")
            broker.lease(1, self.patience)
            signal.pause()

        with self.child(consume) as child:
            assert child.line() == "waiting"
            self.nothing(new(), self.tick)
            child.kill()
        self.put(new(), b"for the living")

        assert self.one(new()).body == b"for the living"

    def test_accepted_batches_are_whole(self, new: MakeBroker) -> None:
        """When it returns, every message survives the death of the calling process."""
        size = min(10, new().capabilities.bulk)
        batches = chunks(numbered(self.crowd), size)

        def produce(tell: Callable[[str], None]) -> None:
            broker = new()
            for number, batch in enumerate(batches):
                self.put(broker, *batch)
                tell(str(number))

        with self.child(produce) as child:
            for _ in range(len(batches) // 3):
                child.line()
            child.kill()
            accepted = len(batches) // 3 + len(child.lines())

        found = self.drain(new())
        assert set(numbered(accepted * size)) <= set(found)
        assert {1} == set(found.values())

    def test_every_settlement_is_whole_or_not_at_all(self, new: MakeBroker) -> None:
        """The step from leased to the new state is atomic: a crash leaves one or the other."""
        sent = numbered(self.crowd)
        for batch in chunks(sent, new().capabilities.bulk):
            self.put(new(), *batch)
        actions = list(Action) if new().capabilities.dead_letter else list(Action)[:3]

        def consume(tell: Callable[[str], None]) -> None:
            broker = new(retry=4 * self.tick)
            while taken := broker.lease(min(6, broker.capabilities.bulk), 0.0):
                chosen = [actions[int(delivery.body) % len(actions)] for delivery in taken]
                broker.settle(
                    [Settlement(d.receipt, action) for d, action in zip(taken, chosen, strict=True)]
                )
                for delivery, action in zip(taken, chosen, strict=True):
                    tell(delivery.body.decode() if action is Action.ACK else "")

        removed: list[str] = []
        with self.child(consume) as child:
            for _ in range(self.crowd // 4):
                removed += filter(None, [child.line()])
            child.kill()
            removed += filter(None, child.lines())

        broker = new()
        buried = [letter.body for letter in broker.buried(self.crowd)] if len(actions) == 4 else []
        found = self.drain(broker) + Counter(buried)
        may_be_gone = {body for body in sent if actions[int(body) % len(actions)] is Action.ACK}
        assert {1} == set(found.values())
        assert set(sent) - may_be_gone <= set(found)
        assert not {body.encode() for body in removed} & set(found)

    def test_many_die_and_nothing_is_lost(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        sent = numbered(self.crowd)
        for batch in chunks(sent, new().capabilities.bulk):
            self.put(new(), *batch)

        def consume(tell: Callable[[str], None]) -> None:
            broker = new(retry=4 * self.tick)
            while taken := self.some(broker, 1):
                broker.settle(acks(taken))
                tell(taken[0].body.decode())

        done: list[str] = []
        for _ in range(4):
            with self.child(consume) as child:
                done += [child.line() or "" for _ in range(self.crowd // 8)]
                child.kill()
                done += child.lines()

        assert len(done) == len(set(done))
        left = self.drain(new())
        assert not {body.encode() for body in done} & set(left)
        # each of the four may have died between its settlement and its word
        assert len(done) + len(left) >= len(sent) - 4

    def drain(self, broker: Broker) -> Counter[bytes]:
        """Take what is there, and what comes back from the leases of the dead."""
        found: Counter[bytes] = Counter()
        while taken := broker.lease(min(100, broker.capabilities.bulk), 8 * self.tick):
            found.update(delivery.body for delivery in taken)
            broker.settle(acks(taken))
        return found

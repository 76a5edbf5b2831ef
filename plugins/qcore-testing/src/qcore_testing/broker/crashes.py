"""Processes die at any moment; no message is lost or doubled."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests, acks, chunks, numbered
from qcore_testing.contract import MOMENTS, Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker


#: said by a process that may have settled too late
_LATE = "late"


class CrashRules(BrokerTests):
    """What is left when a process is killed with SIGKILL."""

    #: messages in a test that kills at a moment it does not choose
    message_count: ClassVar[int] = 240

    @pytest.fixture(autouse=True)
    def _processes(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in vars(CrashRules):
            new: MakeBroker = request.getfixturevalue("new")
            skip_unless(new().capabilities.cross_process, "is not seen by other processes")
            skip_unless(new().capabilities.redelivers, "gives no receipts")

    def test_a_message_outlives_the_consumer(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        for lease in self.leases(8):
            with lease:
                fields: dict[str, Any] = {"retry": lease.seconds, "name": lease.name}
                self.put(new(**fields), b"held by the dead")

                def consume(send: Callable[[str], None], fields: dict[str, Any] = fields) -> None:
                    send(self.one(new(**fields)).body.decode())
                    signal.pause()

                with self.child(consume) as child:
                    assert child.line() == "held by the dead"
                    child.kill()

                self.nothing(new(name=lease.name))
                assert self.one(new(name=lease.name)).body == b"held by the dead"

    def test_a_waiting_consumer_takes_nothing_with_it(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""

        def consume(send: Callable[[str], None]) -> None:
            broker = new(retry=self.time_unit)
            send("waiting")
            broker.lease(1, self.timeout)
            signal.pause()

        with self.child(consume) as child:
            assert child.line() == "waiting"
            self.nothing(new(), self.time_unit)
            child.kill()
        self.put(new(), b"for the living")

        assert self.one(new()).body == b"for the living"

    def test_accepted_batches_are_whole(self, new: MakeBroker) -> None:
        """When it returns, every message survives the death of the calling process."""
        size = min(10, new().capabilities.max_batch)
        batches = chunks(numbered(self.message_count), size)

        def produce(send: Callable[[str], None]) -> None:
            broker = new()
            for number, batch in enumerate(batches):
                self.put(broker, *batch)
                send(str(number))

        for at in MOMENTS:
            with self.child(produce) as child:
                accepted = len(self.kill_amid(child, 4, at))
            found = self.drain(new(), self.time_unit)
            assert set(numbered(accepted * size)) <= set(found)
            assert set(found.values()) == {1}

    def test_every_settlement_is_whole_or_not_at_all(self, new: MakeBroker) -> None:
        """Each settlement is whole, or as if it had not been.

        The step from leased to the new state is atomic: a crash leaves one or the other, or
        both where the capabilities say so.
        """
        sent = numbered(self.message_count)
        for batch in chunks(sent, new().capabilities.max_batch):
            self.put(new(retry=4 * self.time_unit), *batch)
        actions = list(Action) if new().capabilities.dead_letters else list(Action)[:3]

        def consume(send: Callable[[str], None]) -> None:
            broker = new(retry=4 * self.time_unit)
            for turn in range(self.message_count):
                since = Stopwatch()
                taken = broker.lease(min(8, broker.capabilities.max_batch), 0.0)
                chosen = [actions[(turn + number) % len(actions)] for number in range(len(taken))]
                pairs = list(zip(taken, chosen, strict=True))
                done = [one.body.decode() for one, action in pairs if action is Action.ACK]
                send(" ".join(["before", *done]))
                broker.settle([Settlement(one.receipt, action) for one, action in pairs])
                # a lease that may have ended may not have been settled
                send(" ".join(["after", *done] if since.seconds < 2 * self.time_unit else [_LATE]))
            signal.pause()

        texts: list[str] = []
        for at in MOMENTS:
            with self.child(consume) as child:
                texts += self.kill_amid(child, 6, 2 * at)

        broker = new()
        dead_letters = (
            [letter.body for letter in broker.dead_letters(self.message_count)] if len(actions) == 4 else []
        )
        found = self.drain(broker, 8 * self.time_unit) + Counter(dead_letters)
        removed, may_be_gone = self.texts(texts, "after"), self.texts(texts, "before")
        assert removed
        # a settlement of two steps may leave the messages of the batch that was cut short twice, and
        # the second of them when the first was done with
        doubled = sum(count - 1 for count in found.values()) + len(removed & set(found))
        assert doubled <= (0 if broker.capabilities.atomic_settle else 8 * len(MOMENTS))
        assert set(sent) - may_be_gone <= set(found)

    def test_many_die_and_nothing_is_lost(self, new: MakeBroker) -> None:
        """After that time it is handed out again under another receipt, by itself."""
        sent = numbered(self.message_count)
        for batch in chunks(sent, new().capabilities.max_batch):
            self.put(new(retry=4 * self.time_unit), *batch)

        def consume(send: Callable[[str], None]) -> None:
            broker = new(retry=4 * self.time_unit)
            while True:
                since = Stopwatch()
                taken = broker.lease(1, self.time_unit)
                if not taken:
                    break
                broker.settle(acks(taken))
                # a lease that may have ended may not have been settled
                send(taken[0].body.decode() if since.seconds < 2 * self.time_unit else _LATE)

        done: list[str] = []
        for at in MOMENTS:
            with self.child(consume) as child:
                done += self.kill_amid(child, self.message_count // 12, at)

        late = done.count(_LATE)
        done = [body for body in done if body != _LATE]
        assert len(done) == len(set(done))
        left = self.drain(new(), 8 * self.time_unit)
        assert not {body.encode() for body in done} & set(left)
        # each of them may have died between its settlement and its word
        assert len(done) + len(left) >= len(sent) - len(MOMENTS) - late

    def texts(self, lines: list[str], word: str) -> set[bytes]:
        """Return the bodies in the lines that begin with a word."""
        return {body.encode() for line in lines if line.startswith(word) for body in line.split()[1:]}

    def drain(self, broker: Broker, wait: float) -> Counter[bytes]:
        """Take what is there, and what comes back from the leases of the dead within `wait`."""
        found: Counter[bytes] = Counter()
        while taken := broker.lease(min(100, broker.capabilities.max_batch), wait):
            found.update(delivery.body for delivery in taken)
            broker.settle(acks(taken))
        return found

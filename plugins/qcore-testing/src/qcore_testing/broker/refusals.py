"""What is refused is refused aloud, and says what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendError, BackendRejected, NotSupported
from qcore.model import Action
from qcore_testing.broker.base import BrokerTests, bodies, message
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from qcore.model import Outgoing
    from qcore_testing.broker.base import MakeBroker


class RefusalRules(BrokerTests):
    """Errors that a caller acts on."""

    def test_a_refused_call_says_what_was_accepted(self, new: MakeBroker) -> None:
        """`accepted` is exactly what is in the queue of a call that was refused.

        An error that is raised after some were accepted has their ids in `BackendError.accepted`.
        """
        broker = new()
        can = broker.capabilities
        wrong: Outgoing | None = None
        if can.max_bytes is not None:
            wrong = message(bytes(can.max_bytes + 1))
        elif not can.delay:
            wrong = message(b"later", delay=60.0)
        if wrong is None:
            pytest.skip("there is no message that it refuses")
        # the wrong one comes when more than one request is full
        good = [message(b"%d" % number) for number in range(min(can.max_batch, 150) + 1)]

        with pytest.raises(BackendError) as caught:
            broker.enqueue([*good, wrong])

        ids = {one.body: one.id for one in good}
        there = bodies(self.some(broker, len(caught.value.accepted)))
        assert {ids[body] for body in there} == set(caught.value.accepted)
        self.nothing(broker)

    def test_a_transaction_that_it_cannot_join_is_refused(self, new: MakeBroker) -> None:
        """What does not lead to its database is refused with `BackendRejected`, which names the broker.

        The default refuses every connection with `NotSupported`.
        """
        broker = new()
        wanted = BackendRejected if broker.capabilities.joins_transactions else NotSupported

        with pytest.raises(wanted, match="(?i)" + type(broker).__name__.removesuffix("Broker")):
            broker.enqueue_on(object(), [message(b"lost")])

        self.nothing(broker)

    def test_a_delay_of_a_settlement_is_honoured_or_refused(self, new: MakeBroker) -> None:
        """What the capabilities exclude (the delay of a settlement) is refused with `NotSupported`.

        The lease goes on then: the message comes back when it ends, and no sooner.
        """
        for lease in self.leases(8):
            with lease:
                broker, other = new(retry=lease.seconds, name=lease.name), new(name=lease.name)
                skip_unless(broker.capabilities.redelivers, "gives no receipts")
                self.put(broker, b"failed")
                leased = self.one(broker)

                if broker.capabilities.retry_delay:
                    self.settle(broker, leased, Action.RETRY, delay=60.0)
                    self.nothing(other)
                    return
                for action in (Action.RETRY, Action.RELEASE):
                    with pytest.raises(NotSupported):
                        self.settle(broker, leased, action, delay=60.0)
                self.nothing(other)
                assert self.one(other).body == b"failed"

    def test_live_messages_are_not_deleted(self, new: MakeBroker) -> None:
        """A message that is not a dead letter stays, whatever ids are given."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        self.dead_letter(broker, b"requeued")
        (letter,) = broker.dead_letters()
        broker.requeue([letter.id])
        sent = message(b"ready")
        broker.enqueue([sent])
        names = [letter.id, sent.id.hex(), str(sent.id), "*", "%", "ready", *map(str, range(20))]

        assert broker.delete(names) == 0
        assert broker.requeue(names) == 0
        leased = self.some(broker, 2)
        assert other.delete([*names, *(one.receipt.hex() for one in leased)]) == 0

        for one in leased:
            self.settle(broker, one, Action.RETRY)
        assert sorted(bodies(self.some(other, 2))) == [b"ready", b"requeued"]

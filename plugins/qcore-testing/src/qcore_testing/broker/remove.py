"""Rules of looking into a queue, and of removing and replacing messages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qcore.model import ID_AT, KEY_ID_AT, Action, Outgoing, Settlement
from qcore_testing.broker.base import BrokerTests, acks, bodies, chunks
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker


class RemoveRules(BrokerTests):
    """One test for each obligation of taking messages back."""

    def test_ready_messages_are_removed(self, new: MakeBroker) -> None:
        """Remove messages that are not leased; return their bodies.

        A ready or delayed message of one of these ids is removed for good.
        """
        broker = self.removing(new)
        sent = self.send(broker, 9)
        chosen = [sent[position] for position in (0, 3, 4, 8)]

        taken = new().remove_messages([os.urandom(16), *(body[ID_AT] for body in chosen)])

        assert sorted(chosen) == sorted(taken)
        assert list(new().remove_messages([body[ID_AT] for body in chosen])) == []
        left = [body for body in sent if body not in chosen]
        assert broker.size().ready == len(left)
        found = bodies(self.some(broker, len(left)))
        assert left == (found if self.ordered else sorted(found, key=left.index))
        self.nothing(broker)

    def test_delayed_messages_are_removed(self, new: MakeBroker) -> None:
        """A ready or delayed message of one of these ids is removed for good."""
        broker, other = self.removing(new), new()
        skip_unless(broker.capabilities.delay, "cannot wait")
        (never,) = self.send(broker, 1, delay=600.0)
        (soon, later) = self.send(broker, 2, delay=4 * self.time_unit)

        assert sorted([never, soon]) == sorted(other.remove_messages([never[ID_AT], soon[ID_AT]]))

        assert bodies(self.some(broker, 1)) == [later]
        self.nothing(broker, 2 * self.time_unit)
        assert not broker.size().delayed

    def test_keys_of_waiting_messages_are_counted(self, new: MakeBroker) -> None:
        """No message is leased or changed; the whole queue may be read, some messages twice."""
        broker, other = new(), new()
        can = broker.capabilities
        first, second = (b"\0" * KEY_ID_AT.start + key + b"\0" * 40 for key in (b"1111", b"2222"))
        self.put(broker, first, second, second)
        if can.delay:
            self.put(broker, second, delay=600.0)

        found = other.key_ids()

        skip_unless(found is not None, "cannot count keys")
        assert found is not None
        least = {b"1111": 1, b"2222": 3 if can.delay else 2}
        assert {key: min(found[key], count) for key, count in least.items()} == least
        assert set(found) == set(least)
        leased = self.some(broker, 3)
        assert sorted(bodies(leased)) == [first, second, second]
        assert {one.deliveries for one in leased} == {1}

    def test_a_dead_letter_gets_another_body(self, new: MakeBroker) -> None:
        """Give a dead letter another body; return whether there is one of this id and it was done."""
        broker, other = new(), new()
        self.dead_letter(broker, b"first", b"second", reason="why")
        first, second = broker.dead_letters()
        done = other.replace_dead_letter(first.id, b"sealed anew")
        skip_unless(done, "cannot replace a dead letter")

        assert not other.replace_dead_letter("none", b"nothing")
        now = list(broker.dead_letters())
        assert [one.body for one in now] == [b"sealed anew", b"second"]
        assert [(one.id, one.reason) for one in now] == [(first.id, "why"), (second.id, "why")]

    def test_a_queue_is_cleared(self, new: MakeBroker) -> None:
        """Remove every message there is; return how many messages.

        What is out of its reach stays: the default purges and drops the dead letters, and leaves
        leased messages, which are delivered again when their leases end.
        """
        broker, other = new(), new()
        can = broker.capabilities
        self.put(broker, *[b"%d" % number for number in range(5)])
        first, second = self.some(broker, 2)
        if can.dead_letters:
            self.settle(broker, first, Action.DEAD_LETTER)
        elif can.redelivers:
            self.settle(broker, first, Action.ACK)
        if can.delay:
            self.put(broker, b"later", delay=600.0)

        removed = other.clear()

        size = broker.size()
        assert removed >= 3
        assert (size.ready, size.dead_letters or 0) == (0, 0)
        assert not (can.purges_delayed and size.delayed)
        broker.settle([Settlement(second.receipt)])
        self.nothing(broker)

    def test_returned_messages_are_removed(self, new: MakeBroker) -> None:
        """A ready or delayed message of one of these ids is removed for good."""
        broker = self.removing(new)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        self.send(broker, 2)
        for action, leased in zip((Action.RETRY, Action.RELEASE), self.some(broker, 2), strict=True):
            self.settle(broker, leased, action)
            assert list(new().remove_messages([leased.body[ID_AT]])) == [leased.body]

        self.nothing(broker)
        assert broker.size().ready == 0

    def test_an_expired_lease_does_not_hold_a_message(self, new: MakeBroker) -> None:
        """A ready or delayed message of one of these ids is removed for good."""
        broker = self.removing(new, retry=4 * self.time_unit)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        (sent,) = self.send(broker, 1)
        expired = self.one(broker)

        assert any(list(new().remove_messages([sent[ID_AT]])) == [sent] for _ in self.tries())

        self.settle(broker, expired, Action.RELEASE)
        self.nothing(broker)

    def test_leased_messages_stay(self, new: MakeBroker) -> None:
        """A leased, dead-lettered or unknown one stays as it is."""
        broker, other = self.removing(new), new()
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        sent = self.send(broker, 2)
        first, second = self.some(broker, 2)
        self.settle(broker, first, Action.RETRY)
        again = self.one(broker)

        assert list(other.remove_messages([body[ID_AT] for body in sent])) == []

        self.settle(broker, again, Action.RETRY)
        self.settle(broker, second, Action.RELEASE)
        assert set(sent) == {delivery.body for delivery in self.some(other, 2)}

    def test_dead_letters_stay(self, new: MakeBroker) -> None:
        """A leased, dead-lettered or unknown one stays as it is."""
        broker = self.removing(new)
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        (dead,) = self.send(broker, 1)
        self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason="no use")
        before = list(broker.dead_letters())

        assert list(new().remove_messages([dead[ID_AT]])) == []

        assert before == list(broker.dead_letters())

    def test_an_unknown_message_is_passed_over(self, new: MakeBroker) -> None:
        """A leased, dead-lettered or unknown one stays as it is."""
        broker = self.removing(new)
        # an id that stands elsewhere in a body, and a body too short to bear one
        (known,) = self.send(broker, 1)
        broker.enqueue([Outgoing(os.urandom(16), b"short"), Outgoing(os.urandom(16), known[ID_AT] * 2)])

        assert list(broker.remove_messages([os.urandom(16), known[:16]])) == []
        assert list(broker.remove_messages([])) == []

        assert len(self.some(broker, 3)) == 3

    def test_a_removed_message_may_be_enqueued_again(self, new: MakeBroker) -> None:
        """A ready or delayed message of one of these ids is removed for good."""
        broker = self.removing(new)
        (sent,) = self.send(broker, 1)
        broker.remove_messages([sent[ID_AT]])

        broker.enqueue([Outgoing(sent[ID_AT], sent)])

        assert bodies(self.some(new(), 1)) == [sent]

    def test_a_message_is_leased_or_removed(self, new: MakeBroker) -> None:
        """A leased, dead-lettered or unknown one stays as it is.

        Of one that is leased at the same moment, one side has it, never both or none.
        """
        broker = self.removing(new)
        skip_unless(broker.capabilities.cross_process, "is not seen by other processes")
        sent = [body for _ in range(20) for body in self.send(broker, 10)]

        def consume(report: Callable[[str], None]) -> None:
            consumer = new()
            while taken := consumer.lease(1, self.time_unit):
                consumer.settle(acks(taken))
                report(taken[0].body.hex())

        with self.child(consume) as one, self.child(consume) as other:
            removed = [
                body
                for some in chunks(sent[::-1], 20)
                for body in broker.remove_messages([body[ID_AT] for body in some])
            ]
            leased = [bytes.fromhex(line) for child in (one, other) for line in child.lines()]

        assert sorted(sent) == sorted([*removed, *leased])
        self.nothing(broker)

    def test_without_the_capability_nothing_is_removed(self, new: MakeBroker) -> None:
        """Remove messages that are not leased; return their bodies.

        A broker that cannot returns nothing and does not claim `Capabilities.remove_messages`.
        """
        broker = new()
        skip_unless(not broker.capabilities.remove_messages, "removes messages")
        (sent,) = self.send(broker, 1)

        assert list(broker.remove_messages([sent[ID_AT]])) == []

        assert bodies(self.some(broker, 1)) == [sent]

    def removing(self, new: MakeBroker, retry: float = 60.0) -> Broker:
        """Return a broker that can, or skip the test."""
        broker = new(retry=retry)
        skip_unless(broker.capabilities.remove_messages, "takes no message back")
        return broker

    def send(self, broker: Broker, count: int, *, delay: float = 0.0) -> list[bytes]:
        """Enqueue messages that bear their ids as envelopes do; return the bodies."""
        sent = [os.urandom(ID_AT.start) + os.urandom(16) + b"the rest" for _ in range(count)]
        broker.enqueue([Outgoing(body[ID_AT], body, delay) for body in sent])
        return sent

    def test_a_message_is_found_in_any_state(self, new: MakeBroker) -> None:
        """Return those of these ids that messages in the queue bear, in any order.

        A message is found whether it is ready, delayed, leased or dead-lettered, and stays as it is.
        """
        broker, other = new(), new()
        skip_unless(broker.find_messages([os.urandom(16)]) is not None, "cannot find a message by its id")
        sent = self.send(broker, 5)
        if broker.capabilities.delay:
            sent += self.send(broker, 1, delay=600.0)
        held = self.some(broker, 2) if broker.capabilities.redelivers else []
        if held:
            self.settle(broker, held[0], Action.RETRY)
        if held and broker.capabilities.dead_letters:
            self.settle(broker, held[1], Action.DEAD_LETTER, reason="no use")
        before = broker.size()

        found = other.find_messages([os.urandom(16), *(body[ID_AT] for body in sent)])

        assert found is not None
        assert sorted(body[ID_AT] for body in sent) == sorted(found)
        assert before == broker.size()

    def test_a_message_that_is_gone_is_not_found(self, new: MakeBroker) -> None:
        """Return those of these ids that messages in the queue bear, in any order.

        None means that the broker cannot tell, or would have to read too many messages for it.
        """
        broker = new()
        skip_unless(broker.find_messages([]) is not None, "cannot find a message by its id")
        ended, removed = self.send(broker, 2)
        if broker.capabilities.redelivers:
            leased = self.one(broker)
            assert leased.body == ended
            assert broker.find_messages([ended[ID_AT]]) == [ended[ID_AT]]
            self.settle(broker, leased, Action.ACK)
            assert list(broker.find_messages([ended[ID_AT]]) or ()) == []
        broker.purge()

        assert list(broker.find_messages([ended[ID_AT], removed[ID_AT]]) or ()) == []

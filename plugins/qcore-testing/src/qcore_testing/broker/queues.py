"""Rules of queues and priorities."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest

from qcore.model import ID_AT, Action, Outgoing
from qcore_queues.order import QueueOrder
from qcore_testing.broker.base import BrokerTests, acks, bodies, message, numbered
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery
    from qcore_testing.broker.base import MakeBroker

#: the queues that the tests use, for a broker whose user has to declare them
DECLARED: Final = ("mail", "reports")
#: messages that a high priority has to get past
_MANY = 300
#: how a message comes back without having run
_RELEASED, _OWNER_GONE, _EXPIRED = COMES_BACK = ("released", "its process is gone", "its lease ended")
#: names the process that is gone
_OWNER: Final = b"12345678"


class QueueTests(BrokerTests):
    """What tests of queues do over and over."""

    def with_queues(
        self, new: MakeBroker, queues: Sequence[str] | Mapping[str, int] | None = None, retry: float = 60.0
    ) -> Broker:
        """Return a broker that leases from some queues, if it has queues."""
        order = None if queues is None else QueueOrder(queues)
        broker = new(queues=order, retry=retry)
        skip_unless(broker.capabilities.queues, "has one queue")
        return broker

    @staticmethod
    def enqueue_four(broker: Broker) -> None:
        """Enqueue messages of the queue `mail` whose bodies are their priorities."""
        broker.enqueue([message(b"%d" % one, queue="mail", priority=one) for one in (0, -7, 9, 3)])

    @staticmethod
    def by_priority(broker: Broker, *priorities: bytes) -> list[int]:
        """Return the priorities that bodies are, as the broker tells them apart."""
        numbers = [int(one) for one in priorities]
        each = broker.capabilities.priorities > 3
        return numbers if each else [(one > 0) - (one < 0) for one in numbers]

    @staticmethod
    def with_id(id_: bytes, *, priority: int) -> Outgoing:
        """Return a message whose body bears its id."""
        return Outgoing(id_, bytes(ID_AT.start) + id_ + b"rest", 0.0, "mail", priority)


class QueueRules(QueueTests):
    """From which queue the next message comes."""

    def test_a_higher_priority_is_leased_first(self, new: MakeBroker) -> None:
        """Messages of a higher priority are leased first; those of one priority in their order."""
        broker = self.with_queues(new)
        given = [(b"low", -100), (b"one", 0), (b"high", 100), (b"two", 0), (b"higher", 100), (b"seven", 7)]

        broker.enqueue([message(body, priority=priority) for body, priority in given])

        order = [b"high", b"higher", b"seven", b"one", b"two", b"low"]
        assert bodies(self.some(broker, 6)) == order

    def test_priorities_are_told_apart(self, new: MakeBroker) -> None:
        """Each priority, or those above 0, 0 and those below 0, in which the first is leased first."""
        broker = self.with_queues(new)
        sent = [b"-2", b"3", b"0", b"-1", b"9"]
        broker.enqueue([message(body, priority=int(body)) for body in sent])

        each = [b"9", b"3", b"0", b"-1", b"-2"]
        bands = [b"3", b"9", b"0", b"-2", b"-1"]
        assert bodies(self.some(broker, 5)) == (each if broker.capabilities.priorities > 3 else bands)

    def test_a_priority_gets_past_many_others(self, new: MakeBroker) -> None:
        """Messages of a higher priority are leased first, one by one too."""
        broker = self.with_queues(new)
        self.put(broker, *numbered(_MANY))
        broker.enqueue([message(body, priority=-5, queue="mail") for body in numbered(_MANY)])
        assert self.one(broker).body == b"00000"

        broker.enqueue([message(b"urgent", priority=1)])

        assert self.one(broker).body == b"urgent"
        assert self.one(broker).body == b"00001"

    def test_queues_are_leased_in_their_order(self, new: MakeBroker) -> None:
        """From an earlier queue before any of a later one, whatever their priorities."""
        broker = self.with_queues(new, ["mail", "default"])
        broker.enqueue(
            [
                message(b"here", priority=100),
                message(b"first", queue="mail"),
                message(b"elsewhere", queue="reports", priority=100),
                message(b"second", queue="mail", priority=-1),
            ]
        )

        assert bodies(self.some(broker, 3)) == [b"first", b"second", b"here"]
        self.nothing(broker)
        assert self.one(new()).body == b"elsewhere"

    def test_the_default_queue_is_left_alone(self, new: MakeBroker) -> None:
        """What is in another queue stays there.

        With `Settings.queues`, a message is only leased from the queues that its `next()` names,
        asked once a lease, and from an earlier one before any of a later one.
        """
        broker = self.with_queues(new, ["mail"])
        self.put(broker, b"plain")

        self.nothing(broker, self.time_unit)
        assert self.one(new()).body == b"plain"

    def test_weights_are_a_proportion(self, new: MakeBroker) -> None:
        """With weights, each queue comes first in its proportion of leases."""
        broker = self.with_queues(new, {"mail": 3, "default": 1})
        broker.enqueue([message(b"mail", queue="mail") for _ in range(40)])
        self.put(broker, *[b"default"] * 40)

        taken = [self.one(broker).body for _ in range(40)]

        assert taken.count(b"default") == 10

    def test_none_starves_without_an_order(self, new: MakeBroker) -> None:
        """No queue waits for ever.

        Without, all queues are leased from, by priority, and those of one priority in turn, so that
        each gets messages leased.
        """
        broker = self.with_queues(new)
        for queue in ("mail", "", "reports"):
            broker.enqueue([message(queue.encode(), queue=queue) for _ in range(100)])

        taken = [self.one(broker).body for _ in range(60)]

        assert {b"mail", b"", b"reports"} == set(taken)

    def test_a_message_comes_back_to_its_queue(self, new: MakeBroker) -> None:
        """RETRY and RELEASE bring it back to its queue and priority."""
        broker = self.with_queues(new, ["mail"])
        self.enqueue_four(broker)
        leased = self.some(broker, 4)

        self.settle(broker, leased[0], Action.RELEASE)
        self.settle(broker, leased[1], Action.RETRY, failures=1)
        self.settle(broker, leased[2], Action.RETRY, failures=1)
        broker.settle(acks(leased[3:]))

        self.nothing(new(queues=QueueOrder(["default"])))
        back = self.some(broker, 3)
        assert sorted(bodies(back)) == [b"0", b"3", b"9"]
        assert self.by_priority(broker, *bodies(back)) == self.by_priority(broker, b"9", b"3", b"0")
        assert {one.body: one.failures for one in back} == {
            one.body: one is not leased[0] for one in leased[:3]
        }

    def test_a_dead_letter_comes_back_to_its_queue(self, new: MakeBroker) -> None:
        """Dead letters that are requeued are in their queue, by their priority."""
        broker = self.with_queues(new, ["mail"])
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        self.enqueue_four(broker)
        for leased in self.some(broker, 4):
            self.settle(broker, leased, Action.DEAD_LETTER, reason="of no use")

        letters = broker.dead_letters()
        assert broker.requeue([one.id for one in reversed(letters)]) == 4

        self.nothing(new(queues=QueueOrder(["default"])))
        back = bodies(self.some(broker, 4))
        assert sorted(back) == [b"-7", b"0", b"3", b"9"]
        assert self.by_priority(broker, *back) == self.by_priority(broker, b"9", b"3", b"0", b"-7")

    def test_an_expired_lease_comes_back_to_its_queue(self, new: MakeBroker) -> None:
        """A lease that ends by itself brings the message back to its queue."""
        broker = self.with_queues(new, ["mail"], retry=4 * self.time_unit)
        self.enqueue_four(broker)
        again: dict[bytes, Delivery] = {}
        for left in self.deadline():
            # on a slow machine a lease may end before the next message is leased for the first time
            taken = broker.lease(min(4, broker.capabilities.max_batch), left)
            again |= {one.body: one for one in taken if one.deliveries > 1}
            if len(again) == 4:
                break

        assert sorted(again) == [b"-7", b"0", b"3", b"9"]
        # a service does not say when a lease has ended
        assert all(one.available for one in again.values()) or not broker.capabilities.atomic_settle
        self.nothing(new(queues=QueueOrder(["default"])))

    @pytest.mark.parametrize("how", COMES_BACK)
    def test_what_comes_back_is_before_what_came_later(self, new: MakeBroker, how: str) -> None:
        """What comes back unchanged is in its order.

        A message that is released is leased before those of its queue and priority that were
        accepted later and have not been leased; one whose lease ends by itself, before those that
        were accepted after that.
        """
        broker = self.with_queues(new, ["mail"])
        skip_unless(broker.capabilities.keeps_place, "does not keep the place of what comes back")
        retry = self.time_unit if how == _EXPIRED else 60.0
        other = new(queues=QueueOrder(["mail"]), retry=retry, owner=_OWNER)
        for priority in (5, 0):
            # a lease may last as whoever enqueues says
            other.enqueue([message(body, queue="mail", priority=priority) for body in (b"first", b"second")])

            leased = self.one(other)
            if how == _RELEASED:
                self.settle(broker, leased, Action.RELEASE)
            elif how == _OWNER_GONE and not broker.release_owner(_OWNER):
                pytest.skip("it cannot tell whose leases they are")
            for _ in self.deadline():
                if broker.size().ready == 2:
                    break
                self.let_pass(self.time_unit / 5)

            broker.enqueue([message(b"third", queue="mail", priority=priority)])
            again = self.some(broker, 3)
            found = bodies(again)
            assert sorted(found) == [b"first", b"second", b"third"]
            assert found.index(b"first") < found.index(b"third")
            assert found[0] == b"first" or how == _EXPIRED
            broker.settle(acks(again))

    def test_a_delay_keeps_queue_and_priority(self, new: MakeBroker) -> None:
        """A message is not leased before its delay is over, and then by its priority."""
        broker = self.with_queues(new, ["mail"])
        skip_unless(broker.capabilities.delay, "cannot delay")
        broker.enqueue([message(b"later", queue="mail", priority=9, delay=self.time_unit)])
        self.nothing(new(queues=QueueOrder(["default"])))

        assert self.one(broker).body == b"later"

    def test_a_wait_ends_when_a_message_comes(self, new: MakeBroker) -> None:
        """A wait ends when a message comes into any of these queues."""
        broker = self.with_queues(new, ["mail", "reports"])
        waiting = new(queues=QueueOrder(["mail", "reports"]))
        # longer than it may take: at the end of its wait it finds the message in any case
        wait = 3 * self.timeout
        for queue in ("reports", "mail"):
            found: list[Delivery] = []
            thread = threading.Thread(target=lambda found=found: found.extend(waiting.lease(1, wait)))
            thread.start()
            self.let_pass(self.time_unit / 5)
            self.put(broker, b"not for it")
            broker.enqueue([message(queue.encode(), queue=queue)])
            thread.join(self.timeout)
            assert bodies(found) == [queue.encode()]

    def test_what_follows_goes_to_its_queue(self, new: MakeBroker) -> None:
        """`then` of `commit_and_lease` goes to the queues of its messages."""
        broker = self.with_queues(new, ["mail"])
        then = [
            message(b"there", queue="mail"),
            message(b"here"),
            message(b"first", queue="mail", priority=2),
        ]

        taken = [*broker.commit_and_lease(None, [], [], 1, then)]

        taken += self.some(broker, 2 - len(taken))
        assert sorted(bodies(taken)) == [b"first", b"there"]

    def test_what_follows_wakes_who_leases_its_queue(self, new: MakeBroker, make: MakeBroker) -> None:
        """A wait ends when a message comes into any of these queues.

        Whoever enqueues it leases from other queues, and has room for more.
        """
        waiting = new(queues=QueueOrder(["default"]), poll=60.0)
        skip_unless(waiting.capabilities.queues, "has one queue")
        skip_unless(waiting.capabilities.long_poll, "polls")

        def go_on() -> None:
            # a connection belongs to the thread that made it
            other = make(queues=QueueOrder(["mail"]))
            other.commit_and_lease(None, [], [], 5, [message(b"follows")])
            other.close()

        going_on = threading.Timer(2 * self.time_unit, go_on)
        since = Stopwatch()
        going_on.start()
        found = bodies(waiting.lease(1, 2 * self.timeout))
        going_on.join()

        assert found == [b"follows"]
        self.soon(since)

    def test_one_id_is_no_other_message(self, new: MakeBroker) -> None:
        """Either all are accepted or an error is raised; of one id, at most one is dropped."""
        broker = self.with_queues(new)
        skip_unless(not broker.capabilities.unique_ids, "drops a message whose id is there")
        one, same = message(b"plain"), message(b"routed", queue="mail", priority=3)

        broker.enqueue([one, Outgoing(one.id, same.body, 0.0, same.queue, same.priority)])

        assert bodies(self.some(broker, 2)) == [b"routed", b"plain"]

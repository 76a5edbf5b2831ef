"""Rules of the calls for one queue of several."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import astuple

from qcore.errors import NotSupported
from qcore.interfaces import QueueState
from qcore.model import Action, QueueSize
from qcore_queues.order import QueueOrder
from qcore_testing.broker.base import acks, bodies, message, numbered
from qcore_testing.broker.queues import QueueTests
from qcore_testing.contract import Stopwatch, skip_unless

if TYPE_CHECKING:
    from qcore.interfaces import Broker
    from qcore.model import Delivery
    from qcore_testing.broker.base import MakeBroker


class QueueCallRules(QueueTests):
    """Pausing, counting, purging, moving, looking."""

    def test_a_paused_queue_waits(self, new: MakeBroker) -> None:
        """Nothing is leased from a paused queue while it is one.

        Tell whether a queue is paused.
        What is leased stays leased, and comes back to its queue.
        """
        broker, other = self.with_queues(new), new()
        if not broker.capabilities.pauses_queues:
            with pytest.raises(NotSupported):
                broker.pause_queue("mail", paused=True)
            assert not broker.is_queue_paused("mail")
            return
        for queue in ("mail", ""):
            broker.enqueue(
                [message(b"mail", queue="mail"), message(b"plain"), message(b"urgent", priority=5)]
            )
            broker.pause_queue(queue, paused=True)

            wanted = [b"mail"] if not queue else [b"urgent", b"plain"]
            taken = self.some(other, len(wanted))
            self.nothing(other)
            assert bodies(taken) == wanted
            assert {one.name: one.paused for one in broker.queues()}[queue]
            assert broker.is_queue_paused(queue)
            assert not broker.is_queue_paused("other")
            self.settle(other, taken.pop(), Action.RELEASE)
            taken += self.some(other, 1)

            broker.pause_queue(queue, paused=False)
            rest = self.some(other, 3 - len(wanted))
            assert not {one.name: one.paused for one in broker.queues()}.get(queue)
            assert not broker.is_queue_paused(queue)
            broker.settle(acks([*taken, *rest]))

    def test_a_queue_is_left_out(self, new: MakeBroker) -> None:
        """Other queues are leased from meanwhile.

        Nothing is leased from a paused queue; where the broker pauses none, nothing from one in
        `Settings.left_out`.
        """
        broker = self.with_queues(new)
        skip_unless(not broker.capabilities.pauses_queues, "pauses queues itself")
        paused = {"mail"}
        every, of_mail = new(left_out=paused), new(left_out=paused, queues=QueueOrder(["mail"]))
        broker.enqueue(
            [message(b"mail", queue="mail"), message(b"urgent", queue="mail", priority=5), message(b"plain")]
        )

        assert self.one(every).body == b"plain"
        self.nothing(every)
        since = Stopwatch()
        self.nothing(of_mail, self.time_unit / 2)
        self.at_least(since, self.time_unit / 2)
        paused.clear()
        assert bodies(self.some(of_mail, 2)) == [b"urgent", b"mail"]

    def test_a_queue_is_paused_while_it_is_waited_at(self, new: MakeBroker) -> None:
        """What comes is released.

        Nothing is leased from a paused queue; where the broker pauses none, nothing from one in
        `Settings.left_out`.
        """
        paused: set[str] = set()
        broker = self.with_queues(new, ["mail"])
        skip_unless(not broker.capabilities.pauses_queues, "pauses queues itself")
        waiting = new(left_out=paused, queues=QueueOrder(["mail"]))
        found: list[Delivery] = []
        thread = threading.Thread(target=lambda: found.extend(waiting.lease(1, 2 * self.time_unit)))
        thread.start()
        self.let_pass(self.time_unit / 4)
        paused.add("mail")
        # where one queue after the other is waited at, it is the highest priority's
        high = 1 if broker.capabilities.priorities > 1 else 0
        broker.enqueue([message(b"late", queue="mail", priority=high)])
        thread.join(self.timeout)

        assert found == []
        paused.clear()
        late = self.one(waiting)
        assert (late.body, late.deliveries) == (b"late", 1)

    def test_queues_are_counted(self, new: MakeBroker) -> None:
        """Ready, leased and delayed messages are counted, and may be read for it one by one.

        `size` has them all together.
        """
        broker = self.with_queues(new)
        can_look = broker.waiting(1) is not None
        assert list(broker.queues()) == [QueueState("", self.known(broker, 0, 0, 0))]
        self.enqueue_four(broker)
        broker.enqueue([message(b"later", queue="mail", delay=600.0), message(b"plain")])
        self.some(new(queues=QueueOrder(["mail"])), 1)

        default, mail = broker.queues()

        assert default.oldest == (b"plain" if can_look else None)
        assert (default.name, default.size, default.paused) == ("", self.known(broker, 1, 0, 0), False)
        assert (mail.size, mail.paused) == (self.known(broker, 3, 1, 1), False)
        assert mail.oldest in ({b"0", b"-7", b"3"} if can_look else {None})
        assert broker.size() == self.known(broker, 4, 1, 1, 0)

    @staticmethod
    def known(broker: Broker, *counts: int) -> QueueSize:
        """Return a size without the counts that the broker cannot tell."""
        _, *can = astuple(broker.size())
        ready, *others = counts
        return QueueSize(
            ready, *(None if told is None else count for count, told in zip(others, can, strict=False))
        )

    def test_one_queue_is_purged(self, new: MakeBroker) -> None:
        """Remove every message of a queue that is not leased or dead-lettered; return how many."""
        broker = self.with_queues(new)
        self.enqueue_four(broker)
        self.put(broker, *numbered(3))

        assert broker.purge_queue("mail") == 4
        assert broker.purge_queue("mail") == 0
        assert bodies(self.some(broker, 3)) == numbered(3)

        self.put(broker, *numbered(2))
        broker.enqueue([message(b"high", priority=3), message(b"mail", queue="mail")])
        assert broker.purge_queue("") == 3
        assert self.one(broker).body == b"mail"
        self.nothing(broker)

    def test_all_are_purged_together(self, new: MakeBroker) -> None:
        """`purge` removes the messages of every queue."""
        broker = self.with_queues(new)
        self.enqueue_four(broker)
        self.put(broker, b"plain")

        assert broker.purge() == 5
        self.nothing(broker)

    def test_a_queue_is_moved(self, new: MakeBroker) -> None:
        """Each keeps its priority, its delay and its counters, and their order stays."""
        broker = self.with_queues(new)
        if not broker.capabilities.moves_queues:
            with pytest.raises(NotSupported):
                broker.move_queue("mail", "reports")
            return
        self.enqueue_four(broker)
        self.put(broker, *numbered(3))

        again = self.some(new(queues=QueueOrder(["mail"])), 1)
        self.settle(broker, again[0], Action.RETRY, failures=3)
        broker.enqueue([message(b"later", queue="mail", delay=600.0)])

        assert broker.move_queue("mail", "reports") == 5
        assert broker.move_queue("mail", "reports") == 0
        old = self.some(new(queues=QueueOrder(["reports"])), 4)
        assert {one.body: one.failures for one in old} == {b"9": 3, b"3": 0, b"0": 0, b"-7": 0}
        assert self.by_priority(broker, *bodies(old)) == self.by_priority(broker, b"9", b"3", b"0", b"-7")
        assert old[0].deliveries + old[1].deliveries == 3
        assert broker.size().delayed in {1, None}
        assert broker.move_queue("", "reports") == 3
        assert bodies(self.some(new(queues=QueueOrder(["reports"])), 3)) == numbered(3)

        broker.enqueue([message(b"last", queue="mail")])
        assert broker.move_queue("mail", "") == 1
        assert self.one(new(queues=QueueOrder(["default"]))).body == b"last"

    def test_waiting_messages_are_looked_at(self, new: MakeBroker) -> None:
        """Those that are leased first are in front.

        Of one queue, or of all; no more than `limit`.
        They stay as they are.
        None means that the broker cannot look.
        """
        broker = self.with_queues(new)
        self.enqueue_four(broker)
        self.put(broker, b"plain")
        if broker.waiting(1) is None:
            pytest.skip("it cannot look")

        found = [(one.body, one.queue) for one in broker.waiting(3, "mail") or ()]
        told = [one.priority for one in broker.waiting(3, "mail") or ()]

        assert found == [(b"9", "mail"), (b"3", "mail"), (b"0", "mail")]
        assert told == self.by_priority(broker, b"9", b"3", b"0")
        assert {one.body for one in broker.waiting(10) or ()} == {b"9", b"3", b"0", b"-7", b"plain"}
        assert broker.size().ready == 5

    def test_all_messages_are_found_and_removed(self, new: MakeBroker) -> None:
        """`remove_messages` removes messages of every queue."""
        broker = self.with_queues(new)
        skip_unless(broker.capabilities.remove_messages, "removes none by id")
        sent = [self.with_id(bytes([number]) * 16, priority=number) for number in (0, 5)]
        broker.enqueue(sent)

        assert sorted(broker.remove_messages([one.id for one in sent])) == sorted(one.body for one in sent)
        self.nothing(broker)

    def test_leases_of_a_dead_process_are_released(self, new: MakeBroker) -> None:
        """What a dead process has leased comes back to its queue."""
        broker = self.with_queues(new)
        self.enqueue_four(broker)
        self.some(new(owner=b"12345678"), 4)
        if not broker.release_owner(b"12345678"):
            pytest.skip("it cannot tell whose leases they are")

        assert sorted(bodies(self.some(new(queues=QueueOrder(["mail"])), 4))) == [b"-7", b"0", b"3", b"9"]

    def test_what_is_not_declared_is_refused(self, new: MakeBroker) -> None:
        """Raise `NotSupported` if a broker with queues takes no messages of this queue or priority."""
        broker = self.with_queues(new)

        for queue, priority in (("mail", 0), ("", 5), ("mail", -5)):
            if not priority or broker.capabilities.priorities > 1:
                broker.check_route(queue, priority)
                continue
            with pytest.raises(NotSupported):
                broker.check_route(queue, priority)
        if broker.capabilities.declared_by:
            with pytest.raises(NotSupported):
                broker.check_route("not.declared", 0)

    def test_one_queue_refuses_the_calls_for_others(self, new: MakeBroker) -> None:
        """A broker without queues refuses what asks for one of them."""
        broker = new()
        if broker.capabilities.queues:
            pytest.skip("it has queues")

        with pytest.raises(NotSupported):
            broker.pause_queue("mail", paused=True)
        with pytest.raises(NotSupported):
            broker.purge_queue("mail")
        with pytest.raises(NotSupported):
            broker.move_queue("mail", "")
        assert list(broker.queues()) == []

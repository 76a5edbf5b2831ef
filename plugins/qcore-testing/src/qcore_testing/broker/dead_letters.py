"""Rules of counting, purging and dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qcore.model import Action
from qcore_testing.broker.base import BrokerTests, acks, bodies, message, numbered
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from qcore_testing.broker.base import MakeBroker


class DeadLetterRules(BrokerTests):
    """What is kept, counted and thrown away."""

    def test_messages_are_counted_by_state(self, new: MakeBroker) -> None:
        """Count the messages by state."""
        broker = new()
        can = broker.capabilities
        self.dead_letter(broker, b"dead") if can.dead_letters else None
        self.put(broker, *numbered(5))
        leased = self.some(broker, 2)
        if can.delay:
            broker.enqueue([message(b"later", delay=60.0)])

        size = new().size()

        assert size.ready == 3
        assert size.leased in (2 if can.redelivers else 0, None)
        assert size.delayed in (1 if can.delay else 0, None)
        assert size.dead_letters in (1 if can.dead_letters else 0, None)
        broker.settle(acks(leased))
        assert broker.size().leased in (0, None)

    def test_the_oldest_message_is_shown(self, new: MakeBroker) -> None:
        """It stays as it is, and None is returned if no message is ready."""
        broker = new()
        assert broker.peek() is None
        if broker.capabilities.delay:
            broker.enqueue([message(b"later", delay=60.0)])
        self.put(broker, *numbered(3))
        found = broker.peek()
        skip_unless(found is not None, "does not show its oldest message")

        assert found in numbered(3)
        assert broker.size().ready == 3
        leased = self.some(new(), 3)
        assert sorted(bodies(leased)) == numbered(3)
        assert broker.peek() is None
        broker.settle(acks(leased))
        if broker.capabilities.dead_letters:
            self.dead_letter(broker, b"dead")
        assert broker.peek() is None

    def test_an_expired_lease_is_counted_once(self, new: MakeBroker) -> None:
        """Count the messages by state."""
        broker = new(retry=self.time_unit)
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        self.put(broker, b"lost")
        self.one(broker)
        self.let_pass(2 * self.time_unit)

        # some backends look for ended leases only when they are asked for messages
        size = new().size()
        assert size.leased is None or size.ready + size.leased == 1

    def test_purge_leaves_leases_and_dead_letters(self, new: MakeBroker) -> None:
        """Remove every message that is not leased or dead-lettered; return how many.

        Delayed ones stay where the capabilities say that they are out of its reach.
        """
        broker, other = new(), new()
        can = broker.capabilities
        delays = can.delay and can.purges_delayed
        self.dead_letter(broker, b"dead") if can.dead_letters else None
        self.put(broker, *numbered(4))
        leased = self.one(broker)
        if delays:
            broker.enqueue([message(b"later", delay=60.0)])

        assert (4 if delays else 3) == other.purge()

        assert other.purge() == 0
        self.nothing(other)
        assert other.size().delayed in (0, None)
        if can.redelivers:
            self.settle(broker, leased, Action.RETRY)
            assert leased.body == self.one(other).body
        if can.dead_letters:
            assert [letter.body for letter in other.dead_letters()] == [b"dead"]

    def test_a_purged_queue_takes_the_same_ids_again(self, new: MakeBroker) -> None:
        """Remove every message that is not leased or dead-lettered; return how many."""
        broker = new()
        sent = message(b"again")
        broker.enqueue([sent])
        broker.purge()

        broker.enqueue([sent])

        assert self.one(broker).body == b"again"

    def test_dead_letters_are_listed_oldest_first(self, new: MakeBroker) -> None:
        """List dead letters, oldest first, starting behind the one whose id is `after`."""
        broker = new()
        before = time.time()
        self.dead_letter(broker, *numbered(5))
        other = new()

        letters = list(other.dead_letters())

        assert numbered(5) == [letter.body for letter in letters]
        assert len({letter.id for letter in letters}) == 5
        assert all(before - 60 < letter.dead_since < time.time() + 60 for letter in letters)
        assert letters[:2] == list(other.dead_letters(2))
        assert letters[2:4] == list(other.dead_letters(limit=2, after=letters[1].id))
        assert list(other.dead_letters(after=letters[4].id)) == []

    def test_a_list_of_letters_never_begins_anew(self, new: MakeBroker) -> None:
        """A reader that goes on behind what is gone meanwhile reads nothing twice.

        If the dead letter with the id `after` is gone, the list goes on behind its place, or is empty.
        It never starts from the oldest again. An `after` that was never an id gives an empty list.
        """
        broker = new()
        self.dead_letter(broker, *numbered(3))
        _, second, third = broker.dead_letters()
        broker.delete([second.id])

        assert list(broker.dead_letters(after=second.id)) in ([third], [])
        strange = ["", "unknown", "-1", "0", "9" * 30, "../../etc/passwd", "\N{SNOWMAN}"]
        assert [one for one in strange if broker.dead_letters(after=one)] == []

    def test_a_requeued_letter_begins_anew(self, new: MakeBroker) -> None:
        """Their counters begin anew: the next lease has `deliveries` 1 and no failures."""
        broker, other = new(), new()
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        self.put(broker, b"again")
        self.settle(broker, self.one(broker), Action.RETRY, failures=3, crashes=2)
        self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason="no", failures=4, crashes=2)

        assert other.requeue([letter.id for letter in other.dead_letters()]) == 1
        again = self.one(other)

        assert again.body == b"again"
        assert list(other.dead_letters()) == []
        assert (again.deliveries, again.failures, again.crashes) == (1, 0, 0)

    def test_a_requeued_message_can_be_dead_lettered_again(self, new: MakeBroker) -> None:
        """Make dead letters ready again."""
        broker = new()
        self.dead_letter(broker, b"again")
        broker.requeue([letter.id for letter in broker.dead_letters()])

        self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason="still no")

        assert [letter.reason for letter in broker.dead_letters()] == ["still no"]

    def test_unknown_letters_are_passed_over(self, new: MakeBroker) -> None:
        """Unknown ids are ignored; the number requeued is returned."""
        broker = new()
        self.dead_letter(broker, *numbered(3))
        first, second, third = [letter.id for letter in broker.dead_letters()]
        strange = ["", "unknown", "-1", "0", "9" * 30, "../../etc/passwd", "\N{SNOWMAN}"]

        assert broker.requeue([*strange, first, "nobody", third]) == 2
        assert broker.requeue([first, third]) == 0

        assert [second] == [letter.id for letter in broker.dead_letters()]
        assert {numbered(3)[0], numbered(3)[2]} == {delivery.body for delivery in self.some(broker, 2)}

    def test_deleted_letters_are_gone(self, new: MakeBroker) -> None:
        """Remove dead letters for good; return how many there were."""
        broker, other = new(), new()
        self.dead_letter(broker, *numbered(3))
        first, second, third = [letter.id for letter in other.dead_letters()]

        assert other.delete([first, "unknown", third]) == 2
        assert other.delete([first, third]) == 0

        assert [second] == [letter.id for letter in broker.dead_letters()]
        assert broker.requeue([first]) == 0
        self.nothing(broker)

    def test_ping_returns(self, new: MakeBroker) -> None:
        """Return if the backend answers, else raise `BackendUnavailable`."""
        new().ping()

    def test_info_is_short(self, new: MakeBroker) -> None:
        """Say in a few words what it is: service, version, place; never a password."""
        info = new().info()

        assert 0 < len(info) <= 200
        assert info.isprintable()

    def test_all_connections_name_the_queue_alike(self, new: MakeBroker) -> None:
        """Name the queue it leads to, by every address of it the same; never a password."""
        named = new().queue_id()

        assert named == new().queue_id()
        assert named is None or (named and named.isprintable())

    def test_close_may_be_repeated(self, new: MakeBroker) -> None:
        """Let go of connections; calling it twice is harmless."""
        broker = new()
        self.put(broker, b"stays")

        broker.close()
        broker.close()

        assert self.one(new()).body == b"stays"

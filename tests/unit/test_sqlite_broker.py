"""What the SQLite broker does beyond the contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qcore.model import ID_AT, Action, Delivery, QueueSize, Settlement
from qcore_sqlite import SqliteBroker, SqliteResults, make_broker, make_results
from tests.unit.sqlite_base import LONG, bodies, outgoing, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of this test's queue."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases do not expire during the test."""
    broker = make_broker(settings_for(path))
    yield broker
    broker.close()


@pytest.fixture
def store(path: Path) -> Iterator[SqliteResults]:
    """Yield the result store of the same file."""
    store = make_results(settings_for(path))
    yield store
    store.close()


def test_order_survives_batches_of_one_millisecond(broker: SqliteBroker) -> None:
    """Messages are leased in the order they were accepted, whatever their ids."""
    expected = [b"%d" % number for number in range(300)]
    for start in range(0, 300, 100):
        broker.enqueue(outgoing(*expected[start : start + 100]))

    actual = [body for _ in range(30) for body in bodies(broker.lease(10, 0))]

    assert expected == actual


def test_a_receipt_of_a_partly_settled_lease_never_fits_a_new_message(broker: SqliteBroker) -> None:
    """SQLite reuses the highest row number once deleted; an old lease does not cover the new message."""
    broker.enqueue(outgoing(b"a", b"b", b"c"))
    old = broker.lease(3, 0)
    broker.settle([Settlement(old[2].receipt)])
    broker.enqueue(outgoing(b"new"))

    settle_all(broker, old)

    assert bodies(broker.lease(10, 0)) == [b"new"]


def test_a_new_message_is_ready_though_the_lease_before_it_shrank(broker: SqliteBroker) -> None:
    """A message enqueued after the last messages of a lease were settled is ready, not leased."""
    broker.enqueue(outgoing(b"a", b"b", b"c"))
    old = broker.lease(3, 0)
    broker.settle([Settlement(old[1].receipt), Settlement(old[2].receipt, Action.RELEASE, delay=LONG)])
    broker.enqueue(outgoing(b"d", b"e"))

    assert bodies(broker.lease(10, 0)) == [b"d", b"e"]
    assert QueueSize(ready=0, leased=3, delayed=1, dead_letters=0) == broker.size()


def test_a_part_of_a_lease_can_be_extended(broker: SqliteBroker) -> None:
    """Only the leases of the given receipts are extended, not their neighbours'."""
    broker.enqueue(outgoing(b"a", b"b", b"c", b"d", b"e"))
    leased = broker.lease(5, 0)
    broker.extend([delivery.receipt for delivery in leased], -1)

    broker.extend([leased[1].receipt, leased[3].receipt], LONG)

    assert bodies(broker.lease(10, 0)) == [b"a", b"c", b"e"]
    settle_all(broker, leased)
    assert QueueSize(ready=0, leased=3, delayed=0, dead_letters=0) == broker.size()


def test_an_expired_lease_says_since_when_the_message_was_available(path: Path) -> None:
    """A delivery after an expired lease has the time of expiry; after a release or a delay it has none."""
    broker = make_broker(settings_for(path, retry=-5.0))
    broker.enqueue(outgoing(b"a"))

    first = broker.lease(1, 0)
    again = broker.lease(1, 0)
    third = broker.lease(1, 0)
    settle_all(broker, third, Action.RELEASE)
    released = broker.lease(1, 0)
    broker.close()

    assert [first[0].available, released[0].available] == [0.0, 0.0]
    for delivery in (*again, *third):
        assert 0 < time.time() - delivery.available - 5 < 60
    assert [d[0].deliveries for d in (first, again, third, released)] == [1, 2, 3, 3]


def test_of_two_settlements_of_one_receipt_the_first_takes_effect(broker: SqliteBroker) -> None:
    """Of two settlements of one receipt the first takes effect, in one call as well."""
    broker.enqueue(outgoing(b"a"))
    (delivery,) = broker.lease(1, 0)

    broker.settle(
        [
            Settlement(delivery.receipt, Action.RETRY, failures=1),
            Settlement(delivery.receipt),
            Settlement(delivery.receipt, Action.DEAD_LETTER),
        ]
    )

    assert QueueSize(ready=1, leased=0, delayed=0, dead_letters=0) == broker.size()


@pytest.mark.parametrize("receipt", [b"", b"short", bytes(16), b"\xff" * 16, b"x" * 500])
@pytest.mark.parametrize("action", Action)
def test_bytes_that_are_not_a_receipt_are_ignored(
    broker: SqliteBroker, receipt: bytes, action: Action
) -> None:
    """Any bytes may be given as a receipt; those that are not one change nothing."""
    broker.enqueue(outgoing(b"a", b"b"))
    broker.lease(1, 0)

    broker.settle([Settlement(receipt, action)])
    broker.extend([receipt], 1)

    assert QueueSize(ready=1, leased=1, delayed=0, dead_letters=0) == broker.size()


@pytest.mark.parametrize("number", ["", "0", "-1", "not a number", "9" * 40, "\u0663"])
def test_a_text_that_is_not_the_id_of_a_dead_letter_is_ignored(broker: SqliteBroker, number: str) -> None:
    """Any text may be given as the id of a dead letter; one that is not changes nothing."""
    assert (broker.requeue([number]), broker.delete([number])) == (0, 0)


def test_commit_and_lease_is_one_transaction(
    broker: SqliteBroker, store: SqliteResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the lease fails, neither the results nor the settlements of the same call are kept."""
    broker.enqueue(outgoing(b"a", b"b"))
    (delivery,) = broker.lease(1, 0)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(broker, "_claim", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broker.commit_and_lease(store, [result(bytes(16))], [Settlement(delivery.receipt)], 1)
    monkeypatch.undo()

    assert store.get([bytes(16)]) == [None]
    assert QueueSize(ready=1, leased=1, delayed=0, dead_letters=0) == broker.size()
    assert bodies(broker.commit_and_lease(store, [result(bytes(16))], [Settlement(delivery.receipt)], 1)) == [
        b"b"
    ]
    assert QueueSize(ready=0, leased=1, delayed=0, dead_letters=0) == broker.size()


def test_results_of_another_file_are_saved_there(broker: SqliteBroker, tmp_path: Path) -> None:
    """Results are saved to the given store if it uses another database."""
    other = make_results(settings_for(tmp_path / "other.db"))
    broker.enqueue(outgoing(b"a", b"b"))
    (delivery,) = broker.lease(1, 0)

    leased = broker.commit_and_lease(other, [result(bytes(16))], [Settlement(delivery.receipt)], 5)
    (saved,) = other.get([bytes(16)])
    other.close()

    assert bodies(leased) == [b"b"]
    assert saved is not None


def test_two_names_of_one_file_are_one_queue(path: Path, broker: SqliteBroker) -> None:
    """A symbolic link to the file opens the same queue."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    broker.enqueue(outgoing(b"a"))

    other = make_broker(settings_for(link))
    leased = other.lease(1, 0)
    other.close()

    assert bodies(leased) == [b"a"]
    assert broker.capabilities.transaction_domain == other.capabilities.transaction_domain


def test_leasing_from_an_empty_queue_writes_nothing(path: Path, broker: SqliteBroker) -> None:
    """An idle worker does not change the write-ahead log."""
    broker.enqueue(outgoing(b"a", delay=LONG))
    log = path.with_name("queue.db-wal")
    before = log.read_bytes()

    for _ in range(10):
        assert bodies(broker.lease(10, 0)) == []
        broker.commit_and_lease(None, (), (), 10)

    assert before == log.read_bytes()


class Machine(RuleBasedStateMachine):
    """Any sequence of calls leaves each message in exactly one state, with the right counters."""

    database: Path

    def __init__(self) -> None:
        super().__init__()
        self.database.unlink(missing_ok=True)
        for suffix in ("-wal", "-shm", "-work", "-done"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        self.broker = make_broker(settings_for(self.database))
        self.number = 0
        #: body -> (deliveries, failures, crashes) of the last lease
        self.ready: dict[bytes, tuple[int, int, int]] = {}
        self.delayed: set[bytes] = set()
        self.leased: dict[bytes, Delivery] = {}
        self.dead_letters: set[bytes] = set()
        self.stale: list[bytes] = []

    def teardown(self) -> None:
        """Close the file."""
        self.broker.close()

    @rule(count=st.integers(1, 4), delay=st.sampled_from([0.0, LONG]))
    def enqueue(self, count: int, delay: float) -> None:
        """Enqueue some messages."""
        names = [b"%042d" % (self.number + i) for i in range(count)]
        self.number += count
        self.broker.enqueue(outgoing(*names, delay=delay))
        if delay:
            self.delayed.update(names)
        else:
            self.ready.update(dict.fromkeys(names, (0, 0, 0)))

    @rule(limit=st.integers(1, 6))
    def lease(self, limit: int) -> None:
        """Lease some messages; each has the expected counters."""
        leased = self.broker.lease(limit, 0)

        assert min(limit, len(self.ready)) == len(leased)
        for delivery in leased:
            deliveries, failures, crashes = self.ready.pop(delivery.body)
            assert (deliveries + 1, failures, crashes) == (
                delivery.deliveries,
                delivery.failures,
                delivery.crashes,
            )
            self.leased[delivery.body] = delivery

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), action=st.sampled_from(Action), delay=st.sampled_from([0.0, LONG]))
    def settle(self, data: st.DataObject, action: Action, delay: float) -> None:
        """Settle some leases, all by the same action."""
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.leased)), min_size=1))
        self.broker.settle(
            [
                Settlement(self.leased[body].receipt, action, delay, "why", failures=3, crashes=1)
                for body in sorted(chosen)
            ]
        )
        for body in chosen:
            delivery = self.leased.pop(body)
            self.stale.append(delivery.receipt)
            if action is Action.DEAD_LETTER:
                self.dead_letters.add(body)
            elif action is not Action.ACK and delay:
                self.delayed.add(body)
            elif action is Action.RETRY:
                self.ready[body] = (delivery.deliveries, 3, 1)
            elif action is Action.RELEASE:
                self.ready[body] = (delivery.deliveries - 1, delivery.failures, delivery.crashes)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), action=st.sampled_from(Action))
    def settle_again(self, data: st.DataObject, action: Action) -> None:
        """Settle a lease that was settled before: nothing changes."""
        self.broker.settle([Settlement(data.draw(st.sampled_from(self.stale)), action)])

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Let some leases expire, and lease their messages again."""
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.leased)), min_size=1))
        self.broker.extend([self.leased[body].receipt for body in chosen], -1)
        for body in chosen:
            delivery = self.leased.pop(body)
            self.ready[body] = (delivery.deliveries, delivery.failures, delivery.crashes)
        self.lease(100)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """Extend some leases: the counts do not change."""
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.leased)), min_size=1))
        self.broker.extend([self.leased[body].receipt for body in chosen], LONG)

    @rule()
    def purge(self) -> None:
        """Remove the ready and delayed messages."""
        assert len(self.ready) + len(self.delayed) == self.broker.purge()
        self.ready.clear()
        self.delayed.clear()

    @precondition(lambda self: self.ready or self.delayed)
    @rule(data=st.data())
    def remove_messages(self, data: st.DataObject) -> None:
        """Take some messages back; what is leased or dead-lettered stays."""
        waiting = {*self.ready, *self.delayed}
        chosen = data.draw(st.sets(st.sampled_from(sorted({*waiting, *self.leased, *self.dead_letters}))))
        removed = self.broker.remove_messages([body[ID_AT] for body in chosen])
        assert sorted(chosen & waiting) == sorted(removed)
        self.delayed -= chosen
        for body in chosen:
            self.ready.pop(body, None)

    @precondition(lambda self: self.dead_letters)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        """Make some dead letters ready again."""
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.dead_letters)), min_size=1))
        ids = [letter.id for letter in self.broker.dead_letters() if letter.body in chosen]
        assert len(chosen) == self.broker.requeue(ids)
        self.dead_letters -= chosen
        self.ready.update(dict.fromkeys(chosen, (0, 0, 0)))

    @invariant()
    def counts_agree(self) -> None:
        """The broker counts what the model counts."""
        expected = QueueSize(len(self.ready), len(self.leased), len(self.delayed), len(self.dead_letters))

        assert expected == self.broker.size()


def test_any_sequence_of_calls_leaves_each_message_in_one_state(tmp_path: Path) -> None:
    """See `Machine`."""

    class Here(Machine):
        database = tmp_path / "machine.db"

    case = Here.TestCase
    case.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)

    case("runTest").runTest()

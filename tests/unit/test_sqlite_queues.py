"""What queues and priorities cost in SQLite, and what keeps them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from qcore.model import Action, Outgoing
from qcore_queues.order import QueueOrder
from qcore_sqlite import SqliteBroker, make_broker
from tests.unit.sqlite_base import bodies, outgoing, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases do not expire during the test."""
    broker = make_broker(settings_for(tmp_path / "queue.db"))
    yield broker
    broker.close()


def fill_queues(broker: SqliteBroker, count: int) -> None:
    """Put two messages into each of so many queues."""
    broker.enqueue(
        [Outgoing(bytes(16), b"%d" % number, 0.0, f"q{number % count}") for number in range(2 * count)]
    )


def steps(broker: SqliteBroker, work: Callable[[], object]) -> int:
    """Return how many steps SQLite makes for a call, which no other load changes."""
    made = [0]

    def count() -> int:
        made[0] += 1
        return 0

    broker._database.read(lambda connection: connection.set_progress_handler(count, 1))
    work()
    broker._database.read(lambda connection: connection.set_progress_handler(None, 1))
    return made[0]


def test_queues_that_were_emptied_cost_nothing(broker: SqliteBroker) -> None:
    """However many names there have been, a lease makes the steps that it made before."""
    broker.lease(1, 0)
    before = steps(broker, lambda: broker.lease(1, 0))
    fill_queues(broker, 300)
    settle_all(broker, broker.lease(600, 0))

    assert steps(broker, lambda: broker.lease(1, 0)) <= 2 * before


def test_a_queue_that_is_resumed_is_forgotten(broker: SqliteBroker) -> None:
    """It was paused while it was empty."""
    before = steps(broker, lambda: broker.lease(1, 0))
    for number in range(50):
        broker.pause_queue(f"q{number}", paused=True)
    assert len(broker.queues()) == 51
    for number in range(50):
        broker.pause_queue(f"q{number}", paused=False)

    assert [one.name for one in broker.queues()] == [""]
    assert steps(broker, lambda: broker.lease(1, 0)) <= 2 * before


def test_counting_queues_takes_twice_as_long_for_twice_as_many(broker: SqliteBroker) -> None:
    """Each message is counted once, not once for each queue."""
    fill_queues(broker, 50)
    few = steps(broker, broker.queues)
    broker.purge()
    fill_queues(broker, 200)

    assert steps(broker, broker.queues) < 6 * few


def test_whether_one_queue_is_paused_is_told_without_counting(broker: SqliteBroker) -> None:
    """The messages are not looked at."""
    before = steps(broker, lambda: broker.is_queue_paused("q1"))
    fill_queues(broker, 50)

    assert steps(broker, lambda: broker.is_queue_paused("q1")) <= before


@pytest.mark.parametrize("queue", ["", "mail"])
def test_what_is_released_again_is_before_what_came_back_later(broker: SqliteBroker, queue: str) -> None:
    """Whatever has been leased before keeps its order, in the default queue too."""
    broker.enqueue([Outgoing(bytes(16), body, 0.0, queue) for body in (b"a", b"b", b"c")])
    settle_all(broker, broker.lease(3, 0), Action.RETRY)
    first = broker.lease(1, 0)

    settle_all(broker, first, Action.RELEASE)

    assert bodies(broker.lease(3, 0)) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("queue", ["", "mail"])
def test_a_lease_that_ends_again_keeps_the_order(broker: SqliteBroker, queue: str) -> None:
    """It says when it ended, and its message is in its old place."""
    broker.enqueue([Outgoing(bytes(16), body, 0.0, queue) for body in (b"a", b"b", b"c")])
    settle_all(broker, broker.lease(3, 0), Action.RETRY)
    (first,) = broker.lease(1, 0)

    broker.extend([first.receipt], 0.0)

    again = broker.lease(3, 0)
    assert bodies(again) == [b"a", b"b", b"c"]
    assert [one.available > 0 for one in again] == [True, False, False]
    settle_all(broker, [first])
    assert broker.size().leased == 3


def test_a_plain_message_is_not_lost_beside_a_delayed_one_of_its_id(broker: SqliteBroker) -> None:
    """Each of the call is accepted."""
    (later,) = outgoing(b"later", delay=600.0)

    broker.enqueue([Outgoing(later.id, b"now"), later])

    assert (broker.size().ready, broker.size().delayed) == (1, 1)


def test_all_queues_are_leased_from_when_one_names_what_is_not_there(tmp_path: Path) -> None:
    """A queue of the order that has no messages is skipped."""
    order = QueueOrder(["none", "mail", "default"])
    broker = make_broker(attrs.evolve(settings_for(tmp_path / "queue.db"), queues=order))
    broker.enqueue([Outgoing(bytes(16), b"mail", 0.0, "mail"), Outgoing(bytes(16), b"plain")])

    assert bodies(broker.lease(5, 0)) == [b"mail", b"plain"]
    broker.close()

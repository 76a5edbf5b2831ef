"""A batch is claimed in two commands, and no message twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.monitoring import CommandListener

from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult
from qcore_mongo import MongoBroker, MongoResults, MongoSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent


class Between(CommandListener):
    """Counts the commands of a client, and can run code before one of them is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        #: what is done before the next command of a name
        self.before: dict[str, Callable[[], object]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Run the code for this command."""
        self.sent.append(event.command_name)
        work = self.before.pop(event.command_name, None)
        if work is not None:
            work()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


class Scene:
    """A consumer whose commands are counted, and another one."""

    def __init__(self, land: Any, database: str) -> None:
        self.between = Between()
        self._land, self._database = land, database
        self.broker = MongoBroker(self.settings(event_listeners=[self.between]))
        self.results = MongoResults(self.settings(event_listeners=[self.between]))
        self.other = MongoBroker(self.settings())

    def settings(self, **fields: Any) -> Settings:
        """Return settings of the queue."""
        told = MongoSettings(**self._land.settings, **fields)
        return Settings(name="q", retry=60.0, sections={"mongo": told, "mongo_db": self._database})

    def put(self, *bodies: bytes) -> list[bytes]:
        """Enqueue messages; return their ids."""
        ids = [os.urandom(16) for _ in bodies]
        self.other.enqueue([Outgoing(id, body) for id, body in zip(ids, bodies, strict=True)])
        return ids

    def close(self) -> None:
        """Close everything."""
        for one in (self.broker, self.results, self.other):
            one.close()


@pytest.fixture
def scene(land: Any, database: str) -> Iterator[Scene]:
    """Return two consumers of one queue."""
    made = Scene(land, database)
    yield made
    made.close()
    with land.client() as client:
        client.drop_database(database)


def bodies(found: Any) -> list[bytes]:
    """Return the bodies of the leased messages."""
    return [one.body for one in found]


def test_a_message_that_another_consumer_claims_meanwhile_is_not_leased(scene: Scene) -> None:
    """Of two consumers that read the same message one leases it."""
    scene.put(b"1", b"2", b"3")
    theirs: list[Any] = []
    scene.between.before["update"] = lambda: theirs.extend(scene.other.lease(2, 0.0))

    ours = scene.broker.lease(3, 0.0)

    assert (bodies(theirs), bodies(ours)) == ([b"1", b"2"], [b"3"])


def test_the_second_consumer_reads_further_messages(scene: Scene) -> None:
    """It returns ready messages although all it had read were claimed by another."""
    scene.put(b"1", b"2", b"3", b"4")
    theirs: list[Any] = []
    scene.between.before["update"] = lambda: theirs.extend(scene.other.lease(2, 0.0))

    ours = scene.broker.lease(2, 0.0)

    assert sorted(bodies(theirs) + bodies(ours))[:2] == [b"1", b"2"]
    assert len(ours) == 2


def test_outdated_counters_are_not_delivered(scene: Scene) -> None:
    """A message that was leased and failed meanwhile is read again."""
    scene.put(b"1")

    def fail() -> None:
        (one,) = scene.other.lease(1, 0.0)
        scene.other.settle([Settlement(one.receipt, Action.RETRY, failures=3, crashes=1)])

    scene.between.before["update"] = fail

    (found,) = scene.broker.lease(1, 0.0)

    assert (found.deliveries, found.failures, found.crashes) == (2, 3, 1)


def test_a_delay_that_was_set_meanwhile_is_kept(scene: Scene) -> None:
    """A message that was released with a delay meanwhile is not leased now."""
    scene.put(b"1")

    def put_off() -> None:
        (one,) = scene.other.lease(1, 0.0)
        scene.other.settle([Settlement(one.receipt, Action.RELEASE, delay=60.0)])

    scene.between.before["update"] = put_off

    assert list(scene.broker.lease(1, 0.0)) == []
    assert scene.other.size().delayed == 1


def test_a_new_message_of_the_same_id_is_not_taken_for_the_old_one(scene: Scene) -> None:
    """A message that was removed and enqueued again has another `seq`, and is read again."""
    (id,) = scene.put(b"first")

    def replace() -> None:
        (one,) = scene.other.lease(1, 0.0)
        scene.other.settle([Settlement(one.receipt)])
        scene.other.enqueue([Outgoing(id, b"second")])

    scene.between.before["update"] = replace

    assert bodies(scene.broker.lease(1, 0.0)) == [b"second"]


@pytest.mark.parametrize("how", ["purge", "withdraw"])
def test_a_message_that_is_removed_meanwhile_is_not_leased(scene: Scene, how: str) -> None:
    """A message that does not exist any more cannot be claimed."""
    ids = scene.put(b"1", b"2")
    remove = scene.other.purge if how == "purge" else lambda: scene.other.remove_messages(ids)
    scene.between.before["update"] = remove

    assert list(scene.broker.lease(2, 0.0)) == []


def test_an_old_receipt_of_the_same_id_settles_nothing(scene: Scene) -> None:
    """The token of a lease is never reused, so an old receipt does not match a new message."""
    (id,) = scene.put(b"first")
    (old,) = scene.broker.lease(1, 0.0)
    scene.broker.settle([Settlement(old.receipt)])
    scene.other.enqueue([Outgoing(id, b"second")])
    (new,) = scene.other.lease(1, 0.0)

    scene.broker.settle([Settlement(old.receipt)])

    assert scene.other.size().leased == 1
    scene.other.settle([Settlement(new.receipt)])
    assert scene.other.size().leased == 0


def test_the_number_of_commands_does_not_depend_on_the_batch(scene: Scene) -> None:
    """A worker's cycle is four commands: save results, settle, read ready messages, claim."""
    scene.put(*(b"%d" % number for number in range(300)))
    done = scene.broker.lease(100, 0.0)
    results = [StoredResult(one.receipt[:16], State.SUCCESS, b"", "a.task") for one in done]
    scene.results.save(results[:1])
    scene.between.sent.clear()

    taken = scene.broker.commit_and_lease(
        scene.results, results[1:], [Settlement(one.receipt) for one in done], 100
    )

    assert len(taken) == 100
    assert scene.between.sent == ["insert", "delete", "find", "update"]
    scene.between.sent.clear()
    scene.broker.settle(
        [Settlement(one.receipt, Action.RETRY if i % 2 else Action.ACK) for i, one in enumerate(taken)]
    )
    scene.broker.enqueue([Outgoing(os.urandom(16), b"") for _ in range(500)])
    assert sorted(scene.between.sent) == ["delete", "insert", "update"]


def test_messages_with_different_versions_are_claimed_in_one_command(scene: Scene) -> None:
    """New, failed and released messages are claimed together."""
    scene.put(b"1", b"2", b"3")
    for failures in (1, 2):
        found = scene.broker.lease(failures, 0.0)
        scene.broker.settle([Settlement(one.receipt, Action.RETRY, failures=failures) for one in found])
    scene.between.sent.clear()

    found = scene.broker.lease(3, 0.0)

    assert sorted(bodies(found)) == [b"1", b"2", b"3"]
    assert scene.between.sent == ["find", "update"]

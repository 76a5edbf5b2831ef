"""A cluster of several nodes, each of which knows only its own queues."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_disque import DisqueBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore.model import Delivery

    from .conftest import Server

#: longer than any lease here
LONG = 600.0
#: seconds what must come may take
TIMEOUT = 100.0


class Nodes:
    """Three nodes, and a broker that speaks to each of them first."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.brokers = [self.broker(node) for node in range(3)]

    def broker(self, node: int, **fields: Any) -> DisqueBroker:
        """Return a broker that is given one node only."""
        return DisqueBroker(self.settings(node, **fields))

    def settings(self, node: int, **fields: Any) -> Settings:
        """Return its settings."""
        sections = {"disque_nodes": [self.server.nodes[node]], **fields}
        return Settings(name="alone", retry=60.0, sections=sections)

    def enqueue(self, *counts: int) -> None:
        """Enqueue so many messages on each node."""
        for node, (broker, count) in enumerate(zip(self.brokers, counts, strict=True)):
            broker.enqueue([message(b"%d-%d" % (node, number)) for number in range(count)])

    def lengths(self, queue: str = "alone") -> list[int]:
        """Return what each node has queued."""
        return [self.server.ask("QLEN", queue, node=node) for node in range(3)]

    def copies(self, job: bytes) -> list[int]:
        """Return the nodes that have a copy of a job."""
        return [node for node in range(3) if self.server.ask("SHOW", job, node=node)]

    def lease(self, node: int = 0) -> tuple[Delivery, int]:
        """Lease a message on a node; return it with a node that has no copy."""
        (delivery,) = self.brokers[node].lease(1, TIMEOUT)
        (without,) = {0, 1, 2} - set(self.copies(job_of(delivery)))
        return delivery, without

    def left(self) -> list[bytes]:
        """Return what can be leased anywhere once every lease has ended."""
        self.server.advance(LONG)
        found: list[bytes] = []
        for broker, length in zip(self.brokers, self.lengths(), strict=True):
            # no more than is there: who asks in vain is given what the others have
            found += [one.body for one in broker.lease(length, TIMEOUT)]
        return found


@pytest.fixture
def nodes(start: Callable[..., Server]) -> Iterator[Nodes]:
    """Return a cluster of three nodes."""
    made = Nodes(start(3))
    yield made
    for broker in made.brokers:
        broker.close()


def message(body: bytes = b"work", delay: float = 0.0) -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), body, delay)


def job_of(delivery: Delivery) -> bytes:
    """Return the id of the job behind a delivery."""
    return delivery.receipt.partition(b":")[0]


def kill_letters(nodes: Nodes, *bodies: bytes) -> None:
    """Make dead letters of messages, each on another node."""
    for node, body in enumerate(bodies):
        broker = nodes.brokers[node % 3]
        broker.enqueue([message(body)])
        (delivery,) = broker.lease(1, TIMEOUT)
        broker.settle([Settlement(delivery.receipt, Action.DEAD_LETTER, reason="no use", failures=2)])


# -- what is removed stays removed ------------------------------------------------------------


def test_a_purge_reaches_every_node(nodes: Nodes) -> None:
    """What is removed does not run later: each job has copies elsewhere, and each queue is a node's own."""
    nodes.enqueue(10, 10, 10)
    nodes.brokers[0].enqueue([message(b"later", delay=300)])

    removed = nodes.brokers[1].purge()

    assert removed == 31
    assert nodes.lengths() == [0, 0, 0]
    assert nodes.left() == []


def test_what_waits_is_shown_of_every_node(nodes: Nodes) -> None:
    """In the order in which it was added, whichever node has it; what is delayed comes last, once."""
    first, second, third = nodes.brokers
    second.enqueue([message(b"1")])
    first.enqueue([message(b"later", delay=300), message(b"2")])
    third.enqueue([message(b"3")])
    second.enqueue([message(b"4")])
    leased, _ = nodes.lease(2)
    assert leased.body == b"3"

    found = third.waiting(9)

    assert [one.body for one in found] == [b"1", b"2", b"4", b"later"]
    assert [one.delay > 290 for one in found] == [False, False, False, True]
    assert [one.body for one in first.waiting(2)] == [b"1", b"2"]
    assert third.peek() == b"1"
    assert nodes.lengths() == [1, 2, 0]


def test_a_queue_is_moved_from_every_node(nodes: Nodes) -> None:
    """Each message is in the other queue once, in its order, with its counters and its delay."""
    first, second, third = nodes.brokers
    second.enqueue([message(b"tried")])
    (tried,) = second.lease(1, TIMEOUT)
    second.settle([Settlement(tried.receipt, Action.RETRY, failures=2)])
    first.enqueue([message(b"2"), message(b"later", delay=300)])
    third.enqueue([message(b"3")])

    assert first.move_to(b"other") == 4
    assert first.move_to(b"other") == 0

    assert nodes.lengths() == [0, 0, 0]
    other = DisqueBroker(attrs.evolve(nodes.settings(0), name="other"))
    moved = other.lease(9, TIMEOUT)
    assert [(one.body, one.failures, one.deliveries) for one in moved] == [
        (b"tried", 2, 2),
        (b"2", 0, 1),
        (b"3", 0, 1),
    ]
    (later,) = other.waiting(9)
    assert later.body == b"later"
    assert 200 < later.delay <= 300
    other.close()


def test_a_purge_leaves_what_is_leased(nodes: Nodes) -> None:
    """On whichever node; it comes back when its lease ends."""
    nodes.enqueue(1, 1, 1)
    delivery, _ = nodes.lease(1)

    assert nodes.brokers[0].purge() == 2

    assert nodes.left() == [delivery.body]


def test_a_purge_reaches_a_node_that_was_away(nodes: Nodes) -> None:
    """A node that is cut off learns of it when it is back, before it hands anything out."""
    nodes.enqueue(0, 20, 0)
    nodes.server.ask("DEBUG", "CUT", 0, node=2)
    nodes.server.ask("DEBUG", "CUT", 1, node=2)

    assert nodes.brokers[0].purge() == 20

    nodes.server.ask("DEBUG", "MEND")
    assert nodes.left() == []


def test_a_batch_that_is_refused_is_removed_everywhere(nodes: Nodes) -> None:
    """Either all are accepted or none: no copy of what was added before is handed out."""
    broker = nodes.brokers[0]
    broker.ping()
    nodes.server.ask("DEBUG", "FAIL", "ADDJOB", "PAUSED Queue paused in input, try later")

    with pytest.raises(BackendUnavailable, match="paused"):
        broker.enqueue([message() for _ in range(5)])

    assert nodes.left() == []


# -- how many copies --------------------------------------------------------------------------


def test_a_message_is_accepted_with_one_of_three_nodes_down(nodes: Nodes) -> None:
    """Two copies are enough; nobody has to set anything for it."""
    nodes.server.down(2)

    nodes.brokers[0].enqueue([message(b"one"), message(b"two")])

    assert nodes.brokers[1].size().ready == 2
    (delivery, _) = nodes.brokers[0].lease(2, TIMEOUT)
    assert [node for node in (0, 1) if nodes.server.ask("SHOW", job_of(delivery), node=node)] == [0, 1]


def test_too_few_nodes_are_told_with_the_way_out(nodes: Nodes) -> None:
    """Which setting asks for so many copies, and what fewer mean."""
    nodes.server.down(1)
    nodes.server.down(2)

    with pytest.raises(BackendUnavailable, match=r"NOREPL") as raised:
        nodes.brokers[0].enqueue([message()])

    assert "`disque_replicate`" in str(raised.value)
    nodes.broker(0, disque_replicate=1).enqueue([message()])
    assert nodes.brokers[0].size().ready == 1


@pytest.mark.parametrize(("told", "copies"), [(None, 2), (1, 1), (3, 3)])
def test_a_job_has_as_many_copies_as_the_setting_says(nodes: Nodes, told: int | None, copies: int) -> None:
    """Two without any."""
    broker = nodes.broker(0, disque_replicate=told)
    broker.enqueue([message()])
    (delivery,) = broker.lease(1, TIMEOUT)

    assert len(nodes.copies(job_of(delivery))) == copies


@pytest.mark.parametrize("told", [0, -1, 65_536])
def test_a_number_of_copies_that_cannot_be_is_refused(told: int) -> None:
    """Before anything is asked."""
    sections = {"disque_nodes": ["127.0.0.1:1"], "disque_replicate": told}

    with pytest.raises(ConfigError, match=f"disque_replicate: got {told}; must be 1 to 65535"):
        DisqueBroker(Settings(name="alone", sections=sections))


def test_what_is_handed_out_once_has_one_copy() -> None:
    """A setting that asks for more beside `retry = 0` is refused, where it would have no effect."""
    sections = {"disque_nodes": ["127.0.0.1:1"], "disque_replicate": 2}

    with pytest.raises(ConfigError, match="disque_replicate: got 2; must be 1 to 1, for retry is 0"):
        DisqueBroker(Settings(name="alone", retry=0.0, sections=sections))


# -- settlements find a copy ------------------------------------------------------------------


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE])
@pytest.mark.parametrize("delay", [0.0, 30.0])
def test_a_settlement_reaches_a_copy(nodes: Nodes, action: Action, delay: float) -> None:
    """By a connection to a node that has none: the counters are kept, and the message comes once."""
    nodes.enqueue(1, 0, 0)
    delivery, without = nodes.lease()

    nodes.brokers[without].settle([Settlement(delivery.receipt, action, failures=3, crashes=2, delay=delay)])
    nodes.server.advance(delay)

    (again,) = nodes.brokers[0].lease(5, TIMEOUT)
    told = (again.deliveries, again.failures, again.crashes)
    assert told == ((2, 3, 2) if action is Action.RETRY else (1, 0, 0))
    nodes.brokers[0].settle([Settlement(again.receipt)])
    assert nodes.left() == []


def test_a_dead_letter_is_made_by_a_node_without_a_copy(nodes: Nodes) -> None:
    """The supervisor, which speaks to another node, settles for a worker that died."""
    nodes.enqueue(1, 0, 0)
    delivery, without = nodes.lease()

    nodes.brokers[without].settle(
        [Settlement(delivery.receipt, Action.DEAD_LETTER, reason="past its delivery limit", crashes=2)]
    )

    (letter,) = nodes.brokers[0].dead_letters()
    assert (letter.body, letter.reason, letter.crashes) == (delivery.body, "past its delivery limit", 2)
    assert nodes.left() == []


@pytest.mark.parametrize("fastack", [False, True])
def test_an_acknowledgement_ends_every_copy(nodes: Nodes, *, fastack: bool) -> None:
    """Whichever node is asked."""
    nodes.enqueue(1, 0, 0)
    delivery, without = nodes.lease()

    nodes.broker(without, disque_fastack=fastack).settle([Settlement(delivery.receipt)])

    assert nodes.copies(job_of(delivery)) == []
    assert nodes.left() == []


def test_a_lease_is_extended_by_a_node_without_a_copy(nodes: Nodes) -> None:
    """The supervisor extends what its workers hold."""
    nodes.enqueue(1, 0, 0)
    delivery, without = nodes.lease()
    for _ in range(3):
        nodes.server.advance(45)
        nodes.brokers[without].extend([delivery.receipt], 60.0)

    assert nodes.lengths() == [0, 0, 0]
    assert nodes.left() == [delivery.body]


def test_a_settlement_finds_another_copy_when_the_node_is_gone(nodes: Nodes) -> None:
    """The node that handed the job out is down; the other copy tells what it was."""
    nodes.enqueue(1, 0, 0)
    delivery, without = nodes.lease()
    nodes.server.down(0)

    nodes.brokers[without].settle([Settlement(delivery.receipt, Action.RETRY, failures=1, crashes=4)])

    (again,) = nodes.brokers[without].lease(1, TIMEOUT)
    assert (again.body, again.failures, again.crashes) == (delivery.body, 1, 4)


def test_a_settlement_without_any_copy_is_told(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be noted, and the log says whose absence is the cause; the others are settled."""
    single = nodes.broker(0, disque_replicate=1)
    single.enqueue([message(b"lost"), message(b"kept")])
    lost, _ = single.lease(2, TIMEOUT)
    nodes.enqueue(0, 1, 0)
    other, _ = nodes.lease(1)
    nodes.server.down(0)

    with caplog.at_level(logging.WARNING):
        nodes.brokers[1].settle([Settlement(one.receipt, Action.RETRY, failures=1) for one in (lost, other)])

    assert "messages redelivered without counting this run" in caplog.text
    assert f"({nodes.server.nodes[0]}): 1" in caplog.text
    (again,) = nodes.brokers[1].lease(5, TIMEOUT)
    assert (again.body, again.failures) == (other.body, 1)


# -- leases -----------------------------------------------------------------------------------


def test_a_lease_lasts_from_when_it_was_given(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disque counts from when a job was queued: one that waited would be handed out again at once."""
    nodes.enqueue(1, 0, 0)
    nodes.server.advance(50)
    now = time.time
    monkeypatch.setattr("qcore_disque.broker.time.time", lambda: now() + 50)
    (delivery,) = nodes.brokers[0].lease(1, TIMEOUT)

    nodes.server.advance(40)

    assert nodes.lengths() == [0, 0, 0]
    assert nodes.left() == [delivery.body]


def test_a_job_handed_on_to_another_node_is_leased_once(nodes: Nodes) -> None:
    """The node it comes from keeps a copy that knows nothing of the lease."""
    nodes.enqueue(1, 0, 0)
    (delivery,) = nodes.brokers[2].lease(1, TIMEOUT)
    for _ in range(3):
        nodes.server.advance(40)
        nodes.brokers[2].extend([delivery.receipt], 60.0)

    assert nodes.lengths() == [0, 0, 0]


# -- sizes and dead letters -------------------------------------------------------------------


def test_sizes_are_those_of_all_nodes(nodes: Nodes) -> None:
    """Whichever is asked."""
    nodes.enqueue(3, 4, 5)
    kill_letters(nodes, b"a", b"b", b"c", b"d")

    assert {(size.ready, size.dead_letters) for size in (broker.size() for broker in nodes.brokers)} == {
        (12, 4)
    }


def test_dead_letters_are_those_of_all_nodes(nodes: Nodes) -> None:
    """In the order they were dead-lettered, page by page."""
    kill_letters(nodes, *(b"%d" % number for number in range(7)))

    for broker in nodes.brokers:
        first = broker.dead_letters(4)
        rest = broker.dead_letters(4, after=first[-1].id)
        assert [letter.body for letter in (*first, *rest)] == [b"%d" % number for number in range(7)]


def test_dead_letters_are_requeued_and_removed_from_any_node(nodes: Nodes) -> None:
    """And no copy of them ever comes back."""
    kill_letters(nodes, *(b"%d" % number for number in range(6)))
    ids = [letter.id for letter in nodes.brokers[0].dead_letters()]

    assert nodes.brokers[2].requeue([*ids[:3], "D-00000000-AAAAAAAAAAAAAAAAAAAAAAAA-05a1"]) == 3
    assert nodes.brokers[1].delete([*ids[3:], "no id"]) == 3

    nodes.server.advance(LONG)
    assert nodes.lengths("alone:dead-letters") == [0, 0, 0]
    assert list(nodes.brokers[0].dead_letters()) == []
    assert sorted(nodes.left()) == [b"0", b"1", b"2"]


def test_a_dead_letter_outlives_its_node(nodes: Nodes) -> None:
    """Another node has a copy; what a node held alone is not invented."""
    kill_letters(nodes, b"kept")
    node = nodes.lengths("alone:dead-letters").index(1)
    other = (node + 1) % 3

    nodes.server.down(node)
    nodes.server.advance(LONG, node=other)

    (letter,) = nodes.brokers[other].dead_letters()
    assert (letter.body, letter.reason, letter.failures) == (b"kept", "no use", 2)
    assert nodes.brokers[other].requeue([letter.id]) == 1


def test_a_node_that_does_not_answer_is_told_once(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """The others are counted; the log is not filled by whoever looks each second."""
    nodes.enqueue(2, 3, 4)
    nodes.server.down(2)

    with caplog.at_level(logging.WARNING):
        sizes = [nodes.brokers[0].size().ready for _ in range(3)]

    assert sizes == [5, 5, 5]
    assert caplog.text.count("does not answer") == 1
    nodes.server.up(2)
    nodes.brokers[2].enqueue([message()])
    nodes.brokers[0].dead_letters()
    assert nodes.brokers[0].size().ready == 6


def test_a_leaving_node_hands_over(nodes: Nodes) -> None:
    """What it is given is kept by others, and a consumer goes to another node."""
    nodes.server.ask("CLUSTER", "LEAVING", "yes")
    leaver = nodes.brokers[0]
    leaver.enqueue([message(b"elsewhere")])
    with pytest.raises(BackendUnavailable, match="leaving its cluster"):
        leaver.lease(1, 5.0)

    (delivery,) = leaver.lease(1, TIMEOUT)

    assert delivery.body == b"elsewhere"


# -- a whole cluster --------------------------------------------------------------------------


def test_a_task_that_kills_its_worker_is_tried_no_more_often_than_set(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """Worker and supervisor speak to nodes of their own: each crash is counted all the same."""
    server = start(3)
    config = Config.from_dict(
        {
            "name": "crashing",
            "workers": 1,
            "retry": 60,
            "max_crashes": 2,
            "disque_nodes": server.nodes,
            "secret_key": "a key of the tests of qcore-disque",
            "result_store": "sqlite",
            "sqlite": {"path": str(tmp_path / "r.db")},
        }
    )
    app = App(config)
    runs = tmp_path / "runs"
    # one more line for each run, and the shell kills the worker
    command = f"echo run >> {runs}; kill -9 $PPID"

    with Cluster(config).start():
        for _ in range(3):
            app.enqueue("os.system", command)
        deadline = time.monotonic() + TIMEOUT
        while app.runtime.make_broker().size().dead_letters < 3 and time.monotonic() < deadline:
            pass

    assert app.runtime.make_broker().size().dead_letters == 3
    assert len(runs.read_text().splitlines()) == 6


def test_tasks_outlive_the_node_they_were_added_to(start: Callable[..., Server], tmp_path: Path) -> None:
    """The node is gone before any worker saw them: the other copies are queued in their time."""
    server = start(3)
    settings = {
        "name": "surviving",
        "workers": 2,
        "retry": 60,
        "secret_key": "a key of the tests of qcore-disque",
        "result_store": "sqlite",
        "sqlite": {"path": str(tmp_path / "r.db")},
    }
    app = App(Config.from_dict({**settings, "disque_nodes": server.nodes[:1]}))
    jobs = [app.enqueue("math.sqrt", number * number) for number in range(20)]
    server.down(0)

    with Cluster(Config.from_dict({**settings, "disque_nodes": server.nodes})).start():
        server.advance(61, node=1)
        results = [job.result(wait=TIMEOUT) for job in jobs]

    assert results == [float(number) for number in range(20)]

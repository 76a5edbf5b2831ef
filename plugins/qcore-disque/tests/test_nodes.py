"""What a node of Disque's refuses, and which node is spoken to then."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_disque import DisqueBroker
from qcore_disque.node import Address, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

LEAVING = "LEAVING this node is leaving the cluster, please connect to a different one"
OOM = "OOM command not allowed when used memory > 'maxmemory'."


def broker_on(*nodes: str, name: str = "alone") -> DisqueBroker:
    """Return a broker on these nodes."""
    return DisqueBroker(Settings(name=name, retry=60.0, sections={"disque_nodes": list(nodes)}))


def message() -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), b"work")


def fail(server: Server, command: str, error: str, node: int = 0) -> None:
    """Let the next such command be answered with an error."""
    server.ask("DEBUG", "FAIL", command, error, node=node)


def test_a_node_at_its_memory_limit_is_an_obstacle_that_passes(start: Callable[..., Server]) -> None:
    """The workers drain it: nobody has to give up."""
    server = start()
    broker = broker_on(server.node)
    fail(server, "ADDJOB", OOM)

    with pytest.raises(BackendUnavailable, match="at its memory limit"):
        broker.enqueue([message()])

    broker.enqueue([message()])


def spoken_to(broker: DisqueBroker, server: Server) -> int:
    """Return the number of the node a broker speaks to."""
    broker.ping()
    return server.nodes.index(broker._nodes.connected_to)


def anew(broker: DisqueBroker, server: Server) -> int:
    """Return the node a broker chooses once its connection is lost."""
    broker._nodes._drop()
    return spoken_to(broker, server)


@pytest.mark.parametrize("error", [LEAVING, OOM])
@pytest.mark.parametrize("command", ["ADDJOB", "GETJOB"])
def test_a_node_that_leaves_or_is_full_is_left(
    start: Callable[..., Server], error: str, command: str
) -> None:
    """The call fails, and the next one goes to another node."""
    server = start(2)
    broker = broker_on(*server.nodes)
    bad = spoken_to(broker, server)
    fail(server, command, error, bad)

    with pytest.raises(BackendUnavailable):
        broker.enqueue([message()]) if command == "ADDJOB" else broker.lease(1, 0)

    assert spoken_to(broker, server) != bad
    assert all(anew(broker, server) != bad for _ in range(20))


def test_a_node_is_not_avoided_for_ever(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute later it may be drained, or be back."""
    server = start(2)
    broker = broker_on(*server.nodes)
    bad = spoken_to(broker, server)
    fail(server, "ADDJOB", LEAVING, bad)
    with pytest.raises(BackendUnavailable):
        broker.enqueue([message()])

    later = time.monotonic() + 60
    monkeypatch.setattr("qcore_disque.nodes.time.monotonic", lambda: later)

    assert any(anew(broker, server) == bad for _ in range(100))


def test_a_node_is_avoided_only_where_there_is_another(start: Callable[..., Server]) -> None:
    """A lone node is asked again."""
    server = start()
    broker = broker_on(server.node)
    fail(server, "ADDJOB", LEAVING)
    with pytest.raises(BackendUnavailable):
        broker.enqueue([message()])

    broker.enqueue([message()])

    assert broker.size().ready == 1


def test_what_a_full_node_took_nevertheless_is_removed(start: Callable[..., Server]) -> None:
    """From every node that has a copy: each would queue it when its time is over."""
    server = start(2)
    broker = broker_on(*server.nodes)
    bad = spoken_to(broker, server)
    fail(server, "ADDJOB", OOM, bad)

    with pytest.raises(BackendUnavailable):
        broker.enqueue([message(), message()])

    server.advance(600)
    assert [server.ask("QLEN", "alone", node=node) for node in range(2)] == [0, 0]


def test_an_error_says_which_messages_were_added_and_stay(start: Callable[..., Server]) -> None:
    """One job is refused, and the others cannot be removed again: whoever repeats must know them."""
    server = start()
    broker = broker_on(server.node)
    broker.ping()
    fail(server, "ADDJOB", "PAUSED Queue paused in input, try later")
    fail(server, "ACKJOB", LEAVING)
    sent = [message() for _ in range(4)]

    with pytest.raises(BackendUnavailable, match="the queue is paused") as caught:
        broker.enqueue(sent)

    assert caught.value.accepted == [one.id for one in sent[1:]]
    assert "cannot be removed: 3: " in caught.value.__notes__[0]
    assert server.ask("QLEN", "alone") == 3


def test_a_paused_queue_is_no_reason_to_leave_the_node(start: Callable[..., Server]) -> None:
    """It is the queue that is paused, whatever node is asked."""
    server = start(2)
    broker = broker_on(*server.nodes)
    node = spoken_to(broker, server)
    fail(server, "ADDJOB", "PAUSED Queue paused in input, try later", node)

    with pytest.raises(BackendUnavailable, match="the queue is paused"):
        broker.enqueue([message()])

    assert spoken_to(broker, server) == node


def test_two_brokers_on_one_queue_are_known_to_be(start: Callable[..., Server]) -> None:
    """`qcore move` would go round in a circle; which address of a cluster is given matters not."""
    one, other = start(), start()
    same = one.node.replace("127.0.0.1", "localhost")
    names = [broker_on(node).queue_id() for node in (one.node, same, other.node)]

    assert names[0] is not None
    assert names[0] == names[1] != names[2]
    assert broker_on(one.node, name="others").queue_id() != names[0]


def test_all_nodes_of_a_cluster_name_it_alike(start: Callable[..., Server]) -> None:
    """Each names itself first, and the others in an order of its own."""
    one, other = start(2).nodes

    assert broker_on(one).queue_id() == broker_on(other).queue_id() == broker_on(other, one).queue_id()


def test_a_cluster_nobody_answers_for_has_no_name() -> None:
    """A broker can be made before its nodes are there."""
    assert broker_on("127.0.0.1:1").queue_id() is None


def test_a_node_that_was_lost_is_not_connected_to_again_unasked(start: Callable[..., Server]) -> None:
    """redis-py connects by itself where it is only asked whether something can be read."""
    node = Node(Address.of(start().node), None)
    assert node.is_there()

    node.close()

    assert not node.is_there()

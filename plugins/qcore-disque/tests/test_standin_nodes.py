"""The nodes of the stand-in deal with each other as Disque's source says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server


@pytest.fixture
def nodes(start: Callable[..., Server]) -> Server:
    """Return a cluster of three nodes."""
    return start(3)


def states(nodes: Server, job: bytes) -> list[bytes | None]:
    """Return what each node says of a job, None where it has no copy."""
    found = [nodes.ask("SHOW", job, node=node) for node in range(3)]
    return [dict(zip(one[::2], one[1::2], strict=True))[b"state"] if one else None for one in found]


def add(nodes: Server, *how: Any, node: int = 0) -> bytes:
    """Add a job with a retry time of a minute."""
    job: bytes = nodes.ask("ADDJOB", "q", "body", 0, *how, "RETRY", 60, node=node)
    return job


def test_a_job_has_copies_and_is_queued_once(nodes: Server) -> None:
    """On all of three nodes, if nobody says how many."""
    assert states(nodes, add(nodes)) == [b"queued", b"active", b"active"]
    assert states(nodes, add(nodes, "REPLICATE", 1, node=1)) == [None, b"queued", None]
    assert [nodes.ask("QLEN", "q", node=node) for node in range(3)] == [1, 1, 0]


def test_as_many_nodes_as_asked_for_or_none(nodes: Server) -> None:
    """A node that is gone is not forgotten, so the copies wanted by default are too many."""
    nodes.down(2)
    for how in ((), ("REPLICATE", 3)):
        with pytest.raises(redis.ResponseError, match="NOREPL Not enough reachable nodes"):
            add(nodes, *how)

    job = add(nodes, "REPLICATE", 2)

    assert [nodes.ask("SHOW", job, node=node) is not None for node in (0, 1)] == [True, True]


def test_deljob_means_one_node(nodes: Server) -> None:
    """The others hand the job out in their time."""
    job = add(nodes)

    assert nodes.ask("DELJOB", job) == 1

    assert states(nodes, job) == [None, b"active", b"active"]
    nodes.advance(61)
    assert sorted(str(state) for state in states(nodes, job)) == ["None", "b'active'", "b'queued'"]


@pytest.mark.parametrize("command", ["ACKJOB", "FASTACK"])
@pytest.mark.parametrize("node", [0, 1, 2])
def test_an_acknowledgement_reaches_every_node(nodes: Server, command: str, node: int) -> None:
    """Whether the node that is asked knows the job or not."""
    job = add(nodes, "REPLICATE", 2)
    known = nodes.ask("SHOW", job, node=node) is not None

    assert nodes.ask(command, job, node=node) == int(known)

    assert states(nodes, job) == [None, None, None]


def test_an_acknowledgement_waits_for_a_node_that_is_cut_off(nodes: Server) -> None:
    """It is kept until every node with a copy knows; FASTACK is not."""
    kept, forgotten = add(nodes), add(nodes)
    nodes.ask("DEBUG", "CUT", 2, node=0)
    nodes.ask("DEBUG", "CUT", 2, node=1)

    nodes.ask("ACKJOB", kept)
    nodes.ask("FASTACK", forgotten)
    assert states(nodes, kept) == [b"acked", b"acked", b"active"]
    assert states(nodes, forgotten) == [None, None, b"active"]
    nodes.ask("DEBUG", "MEND")
    nodes.advance(61)

    assert states(nodes, kept) == [None, None, None]
    assert states(nodes, forgotten) == [None, None, b"queued"]


@pytest.mark.parametrize("command", ["NACK", "ENQUEUE", "DEQUEUE"])
def test_what_moves_a_job_means_one_node(nodes: Server, command: str) -> None:
    """One that has no copy does nothing, and says so by a number."""
    job = add(nodes, "REPLICATE", 1)
    if command != "DEQUEUE":
        nodes.ask("GETJOB", "FROM", "q")

    assert [nodes.ask(command, job, node=node) for node in (1, 2, 0)] == [0, 0, 1]


def test_working_is_told_to_all_copies(nodes: Server) -> None:
    """And refused by a node that has none."""
    job = add(nodes, "REPLICATE", 2)
    nodes.ask("GETJOB", "FROM", "q")
    without = states(nodes, job).index(None)
    with pytest.raises(redis.ResponseError, match="NOJOB"):
        nodes.ask("WORKING", job, node=without)

    for _ in range(3):
        nodes.advance(45)
        assert nodes.ask("WORKING", job) == 60

    assert states(nodes, job).count(b"active") == 2


def test_a_lease_is_counted_from_when_the_job_was_queued(nodes: Server) -> None:
    """Not from when it was handed out."""
    job = add(nodes, "REPLICATE", 1)
    nodes.advance(50)
    nodes.ask("GETJOB", "FROM", "q")

    nodes.advance(11)

    assert states(nodes, job) == [b"queued", None, None]


def test_jobs_come_to_where_they_are_waited_for(nodes: Server) -> None:
    """A node that has none asks the others; a copy stays where they were."""
    job = add(nodes, "REPLICATE", 1)

    assert nodes.ask("GETJOB", "TIMEOUT", 20_000, "FROM", "q", node=2)[0][1] == job

    assert states(nodes, job) == [b"active", None, b"active"]


def test_a_job_outlives_its_node(nodes: Server) -> None:
    """The other copy is queued in its time, and counted as one more delivery."""
    job = add(nodes, "REPLICATE", 2)
    other = next(node for node in (1, 2) if nodes.ask("SHOW", job, node=node))

    nodes.down(0)
    nodes.advance(61, node=other)

    found = nodes.ask("GETJOB", "NOHANG", "WITHCOUNTERS", "FROM", "q", node=other)
    assert found == [[b"q", job, b"body", b"nacks", 0, b"additional-deliveries", 1]]


def test_hello_tells_of_nodes_that_are_gone(nodes: Server) -> None:
    """With a priority nobody would choose."""
    nodes.down(2)
    nodes.ask("CLUSTER", "LEAVING", "yes", node=1)

    _, first, *told = nodes.ask("HELLO")

    assert first == told[0][0]
    assert [(int(port), priority) for _, _, port, priority in told] == list(
        zip(nodes.ports, (b"1", b"100", b"100"), strict=True)
    )


def test_a_node_that_is_down_refuses_and_comes_back_empty(nodes: Server) -> None:
    """As a server that ends."""
    add(nodes, "REPLICATE", 1, node=1)
    nodes.down(1)
    with pytest.raises(redis.ConnectionError):
        nodes.ask("PING", node=1)

    nodes.up(1)

    assert nodes.ask("QLEN", "q", node=1) == 0


def test_a_leaving_node_does_not_wait_for_jobs(nodes: Server) -> None:
    """Nor does it keep any that it is given."""
    nodes.ask("CLUSTER", "LEAVING", "yes")
    job = add(nodes, "REPLICATE", 2)

    with pytest.raises(redis.ResponseError, match="LEAVING"):
        nodes.ask("GETJOB", "FROM", "q")

    assert states(nodes, job)[0] is None
    assert sorted(str(state) for state in states(nodes, job)[1:]) == ["b'active'", "b'queued'"]

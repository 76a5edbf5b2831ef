"""Decides which node has a copy of a leased job."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import redis

from qcore_disque.lease import Lease
from qcore_disque.node import PREFIX
from qcore_disque.replies import fields
from qcore_plugin_support import CountedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qcore_disque.node import Command, Node
    from qcore_disque.nodes import Nodes


class Copy(NamedTuple):
    """What a node said of its copy of a job."""

    node: Node
    queue: bytes
    state: bytes
    item: CountedMessage
    nacks: int
    additional: int

    def holds(self, lease: Lease) -> bool:
        """Return whether a lease has not ended, as far as this node knows.

        The node that handed the job out counts exactly; another one may have missed something.
        """
        if self.state != b"active":
            return False
        counted, known = (self.nacks, self.additional), (lease.nacks, lease.additional)
        return counted == known or (
            self.node.prefix != lease.node and counted[0] <= known[0] and counted[1] <= known[1]
        )


class Copies:
    """The copies of jobs on the nodes of a cluster."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def leased(self, leases: Sequence[Lease]) -> dict[bytes, Copy]:
        """Return a copy of each job whose lease still holds."""
        found: dict[bytes, Copy] = {}
        ended: set[bytes] = set()
        for node, some in self._search(leases):
            wanted = [lease for lease in some if lease.job not in found and lease.job not in ended]
            for lease, copy in self._shown(node, wanted):
                if copy.holds(lease):
                    found[lease.job] = copy
                else:
                    ended.add(lease.job)
            if len(found) + len(ended) == len(leases):
                break
        return found

    def work_on(self, leases: Sequence[Lease]) -> list[redis.ResponseError]:
        """Begin the time of leases anew where there is a copy; return what nodes refused."""
        done: set[bytes] = set()
        refused: list[redis.ResponseError] = []
        for node, some in self._search(leases):
            wanted = [lease for lease in some if lease.job not in done]
            replies = self._nodes.ask(node, [(b"WORKING", lease.job) for lease in wanted])
            for lease, reply in zip(wanted, replies, strict=False):
                if isinstance(reply, redis.ResponseError) and str(reply).startswith("NOJOB"):
                    continue
                done.add(lease.job)
                if isinstance(reply, redis.ResponseError):
                    refused.append(reply)
            if len(done) == len(leases):
                break
        return refused

    def queued(self, queue: bytes, jobs: Sequence[bytes]) -> dict[bytes, Copy]:
        """Return a copy of each job that is on this queue, of the node that has it queued if that answers."""
        found: dict[bytes, Copy] = {}
        ended: set[bytes] = set()
        for node in self._nodes.every():
            for lease, copy in self._shown(node, [Lease(job) for job in jobs]):
                if copy.state == b"acked":
                    ended.add(lease.job)
                elif copy.queue == queue and (copy.state == b"queued" or lease.job not in found):
                    found[lease.job] = copy
        return {job: copy for job, copy in found.items() if job not in ended}

    def by_node(self, leases: Sequence[Lease]) -> list[tuple[Node, list[Lease]]]:
        """Return leases by the node that gave them, by the present one where that does not answer."""
        found: dict[bytes, tuple[Node, list[Lease]]] = {}
        for lease in leases:
            node = self._nodes.at(lease.node) or self._nodes.current()
            found.setdefault(node.id, (node, []))[1].append(lease)
        return list(found.values())

    def _search(self, leases: Sequence[Lease]) -> Iterator[tuple[Node, list[Lease]]]:
        """Yield nodes with the leases to ask them for: where one was given first, then where it was made."""
        asked: set[tuple[bytes, bytes]] = set()

        def fresh(node: Node, some: Sequence[Lease]) -> list[Lease]:
            left = [lease for lease in some if (node.id, lease.job) not in asked]
            asked.update((node.id, lease.job) for lease in left)
            return left

        for of in (_giver, _maker):
            by: dict[bytes, list[Lease]] = {}
            for lease in leases:
                by.setdefault(of(lease), []).append(lease)
            for prefix, some in by.items():
                node = self._nodes.at(prefix)
                if node is not None and (left := fresh(node, some)):
                    yield node, left
        for node in self._nodes.every():
            if left := fresh(node, leases):
                yield node, left

    def _shown(self, node: Node, leases: Sequence[Lease]) -> Iterator[tuple[Lease, Copy]]:
        commands: list[Command] = [(b"SHOW", lease.job) for lease in leases]
        for lease, reply in zip(leases, self._nodes.ask(node, commands), strict=False):
            copy = _copy(node, fields(reply))
            if copy is not None:
                yield lease, copy


def _copy(node: Node, counted: Mapping[bytes, object]) -> Copy | None:
    queue, state, body = counted.get(b"queue"), counted.get(b"state"), counted.get(b"body")
    nacks, additional = counted.get(b"nacks"), counted.get(b"additional-deliveries")
    if not (isinstance(state, bytes) and isinstance(nacks, int) and isinstance(additional, int)):
        return None
    # of a job it knows only the end of, a node says no more
    item = CountedMessage.read(body if isinstance(body, bytes) else b"")
    return Copy(node, queue if isinstance(queue, bytes) else b"", state, item, nacks, additional)


def _giver(lease: Lease) -> bytes:
    return lease.node


def _maker(lease: Lease) -> bytes:
    return lease.job[2 : 2 + PREFIX]

"""Which node of a cluster has the queue."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any, Final

import hiredis

from qcore.errors import BackendError, BackendUnavailable
from qcore_redis import error_mapping
from qcore_redis.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_redis.connection import Connection

_SLOTS: Final = 16384
#: host and port
Node = tuple[str, int]


class Sharded(Address):
    """The node of a cluster that has this queue, whichever it is by now."""

    follows = True

    def __init__(
        self, nodes: Sequence[Node], keywords: dict[str, Any], server: Callable[[dict[str, Any]], Address]
    ) -> None:
        super().__init__(keywords, ",".join(f"{host}:{port}" for host, port in nodes))
        self._keywords.pop("db", None)
        self._server = server
        #: those named by the user, and those the cluster has named since
        self._nodes = list(nodes)
        self._node: Node | None = None

    def identity(self, key: bytes) -> tuple[object, ...]:
        """Queues of one cluster may be with different nodes."""
        return (*super().identity(key), key)

    def open(self, key: bytes, deadline: float) -> Connection:
        """Connect to the node that has the queue; any of those known is asked which it is."""
        if self._node is None:
            self._node = self._find(slot_of(key), deadline)
        try:
            return self._connect(self._node, deadline)
        except BackendUnavailable:
            self.forget()
            raise

    def forget(self) -> None:
        """Ask the cluster anew where the queue is."""
        self._node = None

    def lead(self, node: str) -> None:
        """Go where the cluster says; without a host it is the one that said so."""
        host, _, port = node.rpartition(":")
        self._node = (host or self._nodes[0][0], int(port))

    def at(self, node: str, deadline: float) -> Connection | None:
        """Connect to one node."""
        host, _, port = node.rpartition(":")
        return self._connect((host or self._nodes[0][0], int(port)), deadline)

    def _connect(self, node: Node, deadline: float) -> Connection:
        host, port = node
        return self._server({**self._keywords, "host": host, "port": port}).open(b"", deadline)

    def _find(self, slot: int, deadline: float) -> Node:
        error: BackendError | None = None
        for asked in list(self._nodes):
            try:
                answer = self._ask(asked, deadline)
            except BackendUnavailable as exc:
                error = exc
                continue
            found = {node for *_, nodes in answer for node in nodes}
            self._nodes += sorted(found - set(self._nodes))
            for first, last, nodes in answer:
                if first <= slot <= last and nodes:
                    return nodes[0]
        if error is not None:
            raise error
        raise error_mapping.ClusterChanging(
            f"redis at {self.title} refuses: no node of its cluster has the slot {slot}"
        )

    def _ask(self, asked: Node, deadline: float) -> list[tuple[int, int, list[Node]]]:
        """Return from which slot to which, and the nodes that have these, their primary first."""
        connection = self._connect(asked, deadline)
        try:
            answer = connection.ask((b"CLUSTER", b"SLOTS"), deadline)
        except OSError as exc:
            raise error_mapping.lost(exc, self.title) from exc
        finally:
            connection.close()
        if isinstance(answer, hiredis.ReplyError):
            raise error_mapping.refused(answer, self.title)
        return [
            (
                int(first),
                int(last),
                [((host or b"").decode() or asked[0], int(port)) for host, port, *_ in nodes],
            )
            for first, last, *nodes in answer
        ]


def slot_of(key: bytes) -> int:
    """Return the slot of a key; the part in braces decides."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    tag = key[start + 1 : end] if -1 < start < end - 1 else key
    return binascii.crc_hqx(tag, 0) % _SLOTS

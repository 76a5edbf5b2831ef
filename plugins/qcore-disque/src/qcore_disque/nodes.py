"""Decides which node is asked, and what follows its loss."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final

import redis

from qcore.errors import BackendError, BackendRejected, BackendUnavailable, ConfigError
from qcore_disque import error_mapping
from qcore_disque.node import TIMEOUT, Address, Node, checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Settings
    from qcore_disque.node import Command

_log = logging.getLogger("qcore_disque.nodes")

#: what a connection that cannot be made raises; a name that no resolver takes is a UnicodeError
_LOST: Final = (redis.ConnectionError, redis.TimeoutError, OSError, UnicodeError)
#: seconds a node that takes nothing, or does not answer, is not chosen while there is another
_AVOIDED: Final = 10.0
#: seconds the nodes of the cluster are taken as known
_KNOWN: Final = 10.0


class Nodes:
    """The nodes of a cluster: one of them, chosen at random, does the daily work.

    Disque keeps its queues apart on each node, and most of its commands mean the node that is
    asked: what concerns the cluster is asked of each node, over connections made when needed.
    """

    def __init__(self, nodes: Sequence[str], auth: str | None = None, timeout: float = TIMEOUT) -> None:
        self._given = [Address.of(node) for node in nodes]
        if not self._given:
            raise ConfigError(["disque_nodes: got an empty list; name at least one node, as host:port"])
        if not 0 < timeout < float("inf"):
            raise ConfigError([f"disque_timeout: got {timeout}; must be a number of seconds above 0"])
        self._auth = auth
        self._timeout = timeout
        self._current: Node | None = None
        #: connections to other nodes, by id
        self._others: dict[bytes, Node] = {}
        self._closed = False
        #: the nodes that were given, for messages; never with the password
        self.title = ",".join(map(str, self._given))
        #: the node spoken to last, and the part of its id that receipts contain
        self.connected_to = self.title
        self.prefix = b""
        #: of all nodes of the cluster, as the last one found
        self._members: dict[bytes, Address] = {}
        #: where a node was reached, which may not be where the others see it
        self._reached: dict[bytes, Address] = {}
        #: until when the members are taken as known
        self._known = 0.0
        #: until when an address is not chosen
        self._avoided: dict[str, float] = {}
        #: nodes whose absence was found
        self._missed: set[bytes] = set()

    @classmethod
    def of(cls, settings: Settings) -> Nodes:
        """Return the nodes of a configuration."""
        timeout: float | None = settings.section("disque_timeout")
        return cls(
            settings.section("disque_nodes"),
            settings.section("disque_auth"),
            TIMEOUT if timeout is None else timeout,
        )

    # -- the node that does the daily work ----------------------------------------------------

    def call(self, *words: bytes | str | float) -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply."""
        return self._checked(self.many([words])[0])

    def block(self, *words: bytes | str | float, seconds: float) -> Any:  # noqa: ANN401 - as above
        """Send a command that waits up to `seconds` in the server."""
        return self._checked(self._exchange([words], self._timeout + seconds)[0])

    def many(self, commands: Sequence[Command], unknown_outcome: str = "") -> list[Any]:
        """Send commands in one go; return their replies, errors as objects."""
        return self._exchange(commands, unknown_outcome=unknown_outcome) if commands else []

    def refused(self, reply: redis.ResponseError) -> BackendError:
        """Return the error to raise for one of the replies; the node is left if it takes nothing."""
        error = error_mapping.refused(reply, self.connected_to)
        if error_mapping.is_of_node(reply):
            self._avoided[self.connected_to] = time.monotonic() + _AVOIDED
            self._drop()
        return error

    def current(self) -> Node:
        """Return the node that does the daily work, connected to another when it is gone."""
        if self._current is not None and self._current.is_there():
            return self._current
        self._drop()
        if self._closed:
            raise BackendRejected(f"this connection to disque at {self.title} was closed; make a new one")
        last: BaseException | None = None
        for address in self._order():
            self.connected_to = str(address)
            try:
                self._current = self._connect(address)
            except (BackendUnavailable, *_LOST) as exc:
                last = exc
            else:
                return self._current
        raise error_mapping.lost(last or OSError("no node is known"), self.title) from last

    def close(self) -> None:
        """Give the connections up for good."""
        self._drop()
        for node in self._others.values():
            node.close()
        self._others = {}
        self._closed = True

    # -- the others ---------------------------------------------------------------------------

    def ids(self) -> list[bytes]:
        """Return the ids of all nodes of the cluster, those that are gone too."""
        if time.monotonic() >= self._known:
            node = self.current()
            node.meet()
            self._learn(node)
        return list(self._members)

    def at(self, prefix: bytes) -> Node | None:
        """Return the node whose id begins like that; None if it is not known or does not answer."""
        if self._current is not None and self._current.prefix == prefix:
            return self.current() if self._current.is_there() else None
        known = [id_ for id_ in self._members or self.ids() if id_.startswith(prefix)]
        return self._other(known[0]) if prefix and known else None

    def every(self) -> Iterator[Node]:
        """Yield each node that answers; those that do not are logged, once."""
        ids, current = self.ids(), self.current()
        yield current
        for id_ in ids:
            if id_ != current.id and (node := self._other(id_)):
                yield node

    def look_again(self) -> None:
        """Ask who belongs to the cluster, and try nodes that did not answer just now."""
        self._known = 0.0
        for id_ in self._missed:
            self._avoided.pop(str(self._where(id_)), None)

    def ask(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send commands to one node; return their replies, or nothing if another than ours is lost."""
        try:
            return node.exchange(commands) if commands else []
        except BackendError as exc:
            if node is self._current:
                self._drop()
                raise
            self._miss(node.id, exc)
            return []

    def absent(self) -> list[str]:
        """Return the addresses of the nodes that did not answer when they were asked last."""
        return [str(self._where(id_)) for id_ in sorted(self._missed)]

    def cluster(self) -> str | None:
        """Return what all nodes of the cluster name it alike; None if none answers."""
        with contextlib.suppress(BackendError):
            self._learn(self.current())
        return b",".join(sorted(self._members)).decode("ascii", "replace") or None

    # -- connections --------------------------------------------------------------------------

    def _exchange(
        self, commands: Sequence[Command], timeout: float | None = None, unknown_outcome: str = ""
    ) -> list[Any]:
        node = self.current()
        self.prefix = node.prefix
        try:
            return node.exchange(commands, timeout, unknown_outcome)
        except BaseException:
            self._drop()
            raise

    def _checked(self, reply: Any) -> Any:  # noqa: ANN401 - a reply of any kind
        if isinstance(reply, redis.ResponseError) and error_mapping.is_of_node(reply):
            raise self.refused(reply) from None
        return checked(reply, self.connected_to)

    def _order(self) -> list[Address]:
        """Return the nodes that were given by chance, then those the cluster found of, avoided ones last."""
        now = time.monotonic()
        given = random.sample(self._given, len(self._given))
        found = [self._where(id_) for id_ in self._members]
        chosen = [*given, *(address for address in found if address not in given)]
        return sorted(chosen, key=lambda address: self._avoided.get(str(address), 0.0) > now)

    def _connect(self, address: Address) -> Node:
        node = Node(address, self._auth, self._timeout)
        self._learn(node)
        return node

    def _learn(self, node: Node) -> None:
        self._members = dict(node.members)
        self._reached[node.id] = node.address
        self._known = time.monotonic() + _KNOWN
        self._missed.discard(node.id)

    def _where(self, id_: bytes) -> Address:
        return self._reached.get(id_) or self._members.get(id_) or self._given[0]

    def _other(self, id_: bytes) -> Node | None:
        """Return a connection to another node, None if it does not answer."""
        node = self._others.get(id_)
        if node is not None and node.is_there():
            return node
        if node is not None:
            node.close()
            del self._others[id_]
        place = str(self._where(id_))
        if self._avoided.get(place, 0.0) > time.monotonic():
            return None
        try:
            node = Node(self._where(id_), self._auth, self._timeout)
        except (BackendError, *_LOST) as exc:
            self._miss(id_, exc)
            return None
        if node.id != id_:
            node.close()
            self._miss(id_, OSError(f"{place} is another node by now"))
            return None
        self._missed.discard(id_)
        self._others[id_] = node
        return node

    def _miss(self, id_: bytes, why: BaseException) -> None:
        """Take note that a node does not answer."""
        self._avoided[str(self._where(id_))] = time.monotonic() + _AVOIDED
        if id_ not in self._missed:
            self._missed.add(id_)
            _log.warning("a node of the cluster does not answer: %s", why)

    def _drop(self) -> None:
        node, self._current = self._current, None
        if node is not None:
            node.close()

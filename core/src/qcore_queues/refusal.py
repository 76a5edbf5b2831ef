"""Decides what a broker that has one queue refuses."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from qcore.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Delivery, Outgoing, Settlement, StoredResult


def refusing_routes(made: Broker, name: str) -> Broker:
    """Have a broker that has one queue refuse messages of other queues and of other priorities than 0.

    Args:
        made: the broker.
        name: its name in the configuration, for messages.

    """
    if not made.capabilities.queues:
        made.__class__ = _refusing(type(made), name)
    return made


@functools.cache
def _refusing(kind: type[Broker], name: str) -> type[Broker]:
    def enqueue(self: Broker, messages: Sequence[Outgoing]) -> None:
        refuse_routes(name, messages, self)
        kind.enqueue(self, messages)

    def enqueue_on(self: Broker, connection: Any, messages: Sequence[Outgoing]) -> None:  # noqa: ANN401 - of any library
        refuse_routes(name, messages, self)
        kind.enqueue_on(self, connection, messages)

    def commit_and_lease(  # noqa: PLR0917 - those of the interface
        self: Broker,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        if then:
            refuse_routes(name, then, self)
        return kind.commit_and_lease(self, store, results, settlements, limit, then)

    body: dict[str, Any] = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "enqueue": enqueue,
        "enqueue_on": enqueue_on,
        "commit_and_lease": commit_and_lease,
    }
    meta: Any = type(kind)
    made: type[Broker] = meta(kind.__name__, (kind,), body)
    return made


def refuse_routes(name: str, messages: Iterable[Outgoing], broker: Broker) -> None:
    """Refuse messages of other queues and priorities than the default for a broker that has one queue.

    Args:
        name: of the broker in the configuration.
        messages: to be enqueued.
        broker: the broker.

    Raises:
        NotSupported: there is one; the message says which option it has.

    """
    for one in messages:
        if one.queue or one.priority:
            asked = f"queue={one.queue!r}" if one.queue else f"priority={one.priority}"
            setting = broker.capabilities.declared_by
            declare = f"declare them by {setting}, or " if setting else ""
            msg = (
                f"{asked}: the broker {name!r} has neither queues nor priorities; {declare}leave it out, or "
                "give the task clusters of its own by cluster="
            )
            raise NotSupported(msg)

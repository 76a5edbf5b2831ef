"""Names the queue and the priority of a message in MongoDB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore_mongo.conditions import READY_FILTER, UNLEASED_FILTER, WAITING_FILTER, ready, unleased, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Outgoing
    from qcore_mongo.client import Document


class Route(NamedTuple):
    """The messages of one queue and one priority: first in, first out."""

    #: the field `route` of its messages; empty = the default queue and priority, whose messages have none
    name: str
    queue: str
    priority: int

    @property
    def field(self) -> str:
        """Return the field that says when a message may be leased."""
        return "due" if self.name else "at"

    @property
    def ready(self) -> Document:
        """Return a filter for its ready messages."""
        return ready("due", route=self.name) if self.name else READY_FILTER

    @property
    def waiting(self) -> Document:
        """Return a filter for its messages that are delayed or leased."""
        return waiting("due", route=self.name) if self.name else WAITING_FILTER

    @property
    def unleased(self) -> Document:
        """Return a filter for its messages that are ready or delayed."""
        return unleased("due", route=self.name) if self.name else UNLEASED_FILTER

    def first(self, wanted: Document, limit: int, *, skip: int = 0) -> list[Document]:
        """Return a pipeline of some of its messages, in the order in which they are leased."""
        skipped: list[Document] = [{"$skip": skip}] if skip else []
        return [{"$match": wanted}, {"$sort": {self.field: 1, "seq": 1}}, *skipped, {"$limit": limit}]


#: of who uses neither queues nor priorities
DEFAULT: Final = Route("", "", 0)
_parts: Final = re.compile(r"(-?[0-9]{1,3}):([A-Za-z0-9_.-]{0,64})").fullmatch


def is_routed(message: Outgoing) -> bool:
    """Return whether a message has another queue or priority than the default."""
    return bool(message.queue or message.priority)


def name_of(queue: str, priority: int) -> str:
    """Return the name of a route."""
    return f"{priority}:{queue}" if queue or priority else ""


def route_of(name: object) -> Route | None:
    """Return the route of a name, None if it is not one of ours."""
    found = _parts(name) if isinstance(name, str) else None
    return None if found is None else Route(found[0], found[2], int(found[1]))


def pattern(queues: Sequence[str]) -> str:
    """Return a regular expression for the names of the routes of these queues."""
    return f"^-?[0-9]+:({'|'.join(map(re.escape, queues))})$"

"""Finds the queues, and the priorities of their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_PAUSED: Final = "select name from queue_state where paused"
_USED: Final = """select exists (select 1 from returned where queue is not null)
    or exists (select 1 from queue_state where paused)"""
#: each queue that has messages costs one step in the index, however many these are
_NAMES: Final = """with recursive one (name) as (
    select min(queue) from returned where queue is not null
    union all
    select (select min(queue) from returned where queue is not null and queue > one.name)
    from one where one.name is not null
    ) select name from one where name is not null"""
#: each priority costs one step in the index, however many messages have it
_PRIORITIES: Final = """with recursive one (priority) as (
    select max(priority) from returned where queue = :queue
    union all
    select (select max(priority) from returned where queue = :queue and priority < one.priority)
    from one where one.priority is not null
    ) select priority from one where priority is not null"""


class Stream(NamedTuple):
    """The messages of one queue and priority: first in, first out."""

    queue: str
    #: of a row that is not ours, it may be anything
    priority: int


#: The stream of who uses neither queues nor priorities: its messages are in the table `queue`, and those that
#: came back or are delayed in `returned`, without the name of a queue.
DEFAULT: Final = Stream("", 0)


def are_used(connection: sqlite3.Connection) -> bool:
    """Return whether there are messages of other streams than the default, or a queue that is paused."""
    return bool(connection.execute(_USED).fetchone()[0])


def names(connection: sqlite3.Connection) -> list[str]:
    """Return the queues that have messages, leased ones too, and the default one."""
    return sorted({"", *(name for (name,) in connection.execute(_NAMES) if isinstance(name, str))})


def paused(connection: sqlite3.Connection) -> set[str]:
    """Return the queues that are paused."""
    return {name for (name,) in connection.execute(_PAUSED) if isinstance(name, str)}


def open_queues(connection: sqlite3.Connection, order: Sequence[str] | None) -> list[str]:
    """Return the queues to lease from, in this order or in any."""
    closed = paused(connection)
    return [name for name in (names(connection) if order is None else order) if name not in closed]


def priorities(connection: sqlite3.Connection, queue: str) -> list[int]:
    """Return the priorities of a queue's messages, the highest first; the default's has always 0."""
    found = [priority for (priority,) in connection.execute(_PRIORITIES, {"queue": queue})]
    if queue or 0 in found:
        return found
    return sorted([*found, 0], key=_number, reverse=True)


def by_priority(stream: Stream) -> int:
    """Return a key that sorts the highest priority first."""
    return -_number(stream.priority)


def _number(priority: object) -> int:
    return priority if isinstance(priority, int) else 0

"""What is done with one queue of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.interfaces import QueueState, Waiting
from qcore.model import QueueSize
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore_redis.client import Client

#: delayed messages that are counted in one step, and messages that are moved or removed in one
_BULK: Final = 1000
#: what a script returns when it has done all
_DONE: Final = -2
#: said where the answer was lost
_UNKNOWN_OUTCOME: Final = "some of the messages may have been moved or removed all the same"


def listed(link: Client) -> list[QueueState]:
    """Return the queues that have messages or are paused, and the default one."""
    found = link.run(script("looking", "queues"))
    counts: dict[str, list[int]] = {}
    paused: dict[str, bool] = {}
    oldest: dict[str, bytes | None] = {}
    for at in range(0, len(found), 5):
        name = found[at].decode()
        counts[name] = [found[at + 1], found[at + 2], 0]
        paused[name], oldest[name] = bool(found[at + 3]), found[at + 4]
    for name, due, later in _delays(link):
        count = counts.setdefault(name, [0, 0, 0])
        count[0] += due
        count[2] += later
    return [
        QueueState(name, QueueSize(*count), paused.get(name, False), oldest.get(name))
        for name, count in sorted(counts.items())
        if not name or paused.get(name) or any(count)
    ]


def _delays(link: Client) -> Iterator[tuple[str, int, int]]:
    """Yield how many delayed messages of a queue are due and are not, some at a time."""
    at, seen = 0, _BULK
    while seen >= _BULK:
        seen, *found = link.run(script("queue_delays"), at, _BULK)
        at += seen
        for name, due, later in zip(found[::3], found[1::3], found[2::3], strict=True):
            yield name.decode(), due, later


def pause(link: Client, queue: str, *, paused: bool) -> None:
    """Pause a queue, or resume it."""
    link.run(script("pause"), queue, int(paused))


def is_paused(link: Client, prefix: bytes, queue: str) -> bool:
    """Return whether a queue is paused."""
    return link.call(b"HGET", prefix + b"qp", queue) is not None


def purge(link: Client, queue: str) -> int:
    """Remove the messages of a queue that are not leased; return how many."""
    return _move(link, queue, "")


def move(link: Client, source: str, target: str) -> int:
    """Put the messages of a queue that are not leased into another; return how many."""
    return 0 if source == target else _move(link, source, f"={target}")


def _move(link: Client, source: str, target: str) -> int:
    count, at = 0, -1
    while at != _DONE:
        moved, at = link.run(
            script("leases", "move_queue"), source, target, at, _BULK, unknown_outcome=_UNKNOWN_OUTCOME
        )
        count += moved
    return count


def waiting(link: Client, limit: int, queue: str | None) -> list[Waiting]:
    """Return messages that are not leased, those that are leased first in front."""
    if limit <= 0:
        return []
    found = link.run(script("looking", "waiting"), limit, "*" if queue is None else f"={queue}")
    rows = zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True)
    return [Waiting(body, name.decode(), priority, delay / 1000) for body, name, priority, delay in rows]

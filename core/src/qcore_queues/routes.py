"""Decides which physical queue a message is in, and their order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from qcore.errors import ConfigError, NotSupported
from qcore_queues.names import check_queue, known_as, named
from qcore_text.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.model import Outgoing
    from qcore_queues.order import QueueOrder

#: how many priorities are told apart: above 0, 0, below 0
BANDS: Final = 3
#: band -> its word, in the order in which they are leased
_WORDS: Final = {1: "high", 0: "", -1: "low"}
#: between the word of a route and a receipt or an id; no name of a queue has it
_AT: Final = "@"


class Route(NamedTuple):
    """A physical queue: the messages of one queue and one band of priorities."""

    #: as brokers know it: empty = the default one
    queue: str = ""
    #: 1 for priorities above 0, 0, and -1 for those below 0
    band: int = 0

    @property
    def band_word(self) -> str:
        """`high`, `low`, or nothing."""
        return _WORDS[self.band]

    @property
    def prefix(self) -> str:
        """What is put before its receipts and its dead letters' ids; nothing for the default one's."""
        word = self.queue + (f":{self.band_word}" if self.band else "")
        return word and word + _AT

    @classmethod
    def of(cls, message: Outgoing) -> Route:
        """Return the route of a message."""
        return cls(message.queue, (message.priority > 0) - (message.priority < 0))


@attrs.frozen(kw_only=True)
class Declared:
    """The queues that a user declares, and by what."""

    #: names as the user writes them; the default one may be left out
    queues: Sequence[str] = ()
    priorities: bool = False
    #: the settings that say so, for messages
    queues_setting: str = "queues"
    priorities_setting: str = "priorities"


def check_declared(queues: Iterable[object]) -> None:
    """Check the queues that a user declares.

    Raises:
        ValueError: one cannot be the name of a queue, or is there twice.

    """
    seen: set[object] = set()
    for queue in queues:
        try:
            check_queue("a name in queues", queue)
        except TypeError as exc:
            raise ValueError(str(exc)) from exc
        if queue in seen:
            msg = f"queues has {queue!r} twice; leave one out"
            raise ValueError(msg)
        seen.add(queue)


class Routes:
    """The physical queues of one connection, and the order in which it leases from them."""

    def __init__(self, declared: Declared, order: QueueOrder | None) -> None:
        """Begin with any of the queues, so that processes differ.

        Raises:
            ConfigError: a cluster would lease from a queue that is not declared.

        """
        self._declared = declared
        self._order = order
        #: as brokers know them, the default one first
        self.names = tuple(dict.fromkeys(["", *map(known_as, declared.queues)]))
        #: the highest first
        self.bands = tuple(_WORDS) if declared.priorities else (0,)
        self.all = tuple(Route(name, band) for name in self.names for band in self.bands)
        self._by_prefix = {route.prefix: route for route in self.all}
        self._first = random.randrange(len(self.names))  # noqa: S311 - no secret
        unknown = [named(name) for name in order.names if name not in self.names] if order else []
        if unknown:
            problem = f"queues: got {', '.join(map(repr, unknown))}; {self._rule()}"
            raise ConfigError([problem])
        #: from how many a lease takes
        self.leased = len(self.bands) * len(order.names if order else self.names)

    def next(self) -> list[Route]:
        """Return the routes in the order of the next lease."""
        if self._order is not None:
            return [Route(name, band) for name in self._order.next() for band in self.bands]
        self._first = (self._first + 1) % len(self.names)
        names = self.names[self._first :] + self.names[: self._first]
        return [Route(name, band) for band in self.bands for name in names]

    def by_band(self) -> list[Route]:
        """Return all routes, those of the highest band first."""
        return [Route(name, band) for band in self.bands for name in self.names]

    def of(self, queue: str) -> list[Route]:
        """Return the routes of one queue."""
        self.check(queue, 0)
        return [Route(queue, band) for band in self.bands]

    def check(self, queue: str, priority: int) -> None:
        """Refuse a queue or priority that is not declared.

        Raises:
            NotSupported: it is not.

        """
        if queue not in self.names:
            msg = f"queue={named(queue)!r}: {self._rule()}"
            raise NotSupported(msg)
        if priority and len(self.bands) == 1:
            setting = self._declared.priorities_setting
            msg = f"priority={priority}: {setting} is false; set it for producers and clusters"
            raise NotSupported(msg)

    def of_id(self, text: str) -> tuple[Route, str]:
        """Return the route and the rest of a dead letter's id; what has no prefix is the default queue's."""
        word, at, rest = text.partition(_AT)
        route = self._by_prefix.get(word + at) if at else None
        return (Route(), text) if route is None else (route, rest)

    def of_receipt(self, receipt: bytes) -> tuple[Route, bytes]:
        """Return the same of a receipt."""
        word, at, rest = receipt.partition(_AT.encode())
        route = self._by_prefix.get((word + at).decode("utf-8", "replace")) if at else None
        return (Route(), receipt) if route is None else (route, rest)

    def _rule(self) -> str:
        declared = [named(name) for name in self.names]
        setting = self._declared.queues_setting
        return f"{setting} declares {listed(declared)}; add it there, for producers and clusters alike"

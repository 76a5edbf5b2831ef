"""Decides how several queues and priorities live in IronMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from qcore_ironmq.broker import LONGEST_WAIT, IronBroker
from qcore_ironmq.client import Client
from qcore_ironmq.settings import IronSettings, ServerAddress
from qcore_queues.physical import PhysicalQueues
from qcore_queues.routes import Declared, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery

#: between the parts of a queue's name; the name of a configuration has none, and no URL quotes it
_TILDE: Final = "~"


def broker_of(settings: Settings) -> IronBroker | IronQueues:
    """Return a broker with the queues and priorities that are declared, or with one queue."""
    section = _section(settings)
    return IronQueues(settings) if section.queues or section.priorities else IronBroker(settings)


def queue_of(name: str, route: Route) -> str:
    """Return the name in the project, of the default queue that of the configuration.

    It ends in a band, because a queue may be named as dead letters are.
    """
    if route == Route():
        return name
    return _TILDE.join((name, route.queue or "default", route.band_word or "normal"))


class IronQueues(PhysicalQueues[IronBroker]):
    """Queues and priorities at IronMQ, which looks at one queue in a request."""

    #: of each queue
    kind: ClassVar[type[IronBroker]] = IronBroker

    def __init__(self, settings: Settings) -> None:
        section = _section(settings)
        self._link = Client(ServerAddress.of(section))
        declared = Declared(
            queues=section.queues,
            priorities=section.priorities,
            queues_setting="iron_mq.queues",
            priorities_setting="iron_mq.priorities",
        )
        super().__init__(settings, declared)

    def make(self, settings: Settings, route: Route) -> IronBroker:
        """Make the broker of one queue, over the connection of all."""
        return self.kind(attrs.evolve(settings, name=queue_of(settings.name, route)), self._link)

    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Reserve messages of one queue by one request."""
        return self.child(route).take(limit, seconds)

    @property
    def longest(self) -> int:
        """Most seconds that one request waits."""
        return LONGEST_WAIT


def _section(settings: Settings) -> IronSettings:
    found: IronSettings = settings.section("iron_mq") or IronSettings()
    return found

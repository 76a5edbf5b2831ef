"""Decides how several queues and priorities use Amazon SQS."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from qcore_queues.physical import PhysicalQueues
from qcore_queues.routes import Declared, Route
from qcore_sqs.broker import SqsBroker
from qcore_sqs.names import physical_dead_letters_name, physical_name
from qcore_sqs.settings import SqsSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery


def broker_of(settings: Settings) -> SqsBroker | SqsQueues:
    """Return a broker with the queues and priorities that are declared, or with one queue."""
    section = _section(settings)
    return SqsQueues(settings) if section.queues or section.priorities else SqsBroker(settings)


def settings_of(settings: Settings, route: Route) -> Settings:
    """Return the settings of the broker of one queue; the default one is as if none were declared."""
    section = attrs.evolve(_section(settings), queues=[], priorities=False)
    if route != Route():
        # a name that the user gives stays apart from the same one made from `name`
        base = f"{section.queue}\0" if section.queue else settings.name
        name = physical_name(base, route.queue or "default", route.band_word, fifo=section.is_fifo)
        section = attrs.evolve(section, queue=name, dead_letter_queue=physical_dead_letters_name(name))
    return attrs.evolve(settings, sections={**settings.sections, "sqs": section})


class SqsQueues(PhysicalQueues[SqsBroker]):
    """Queues and priorities at SQS, which looks at one queue in a request."""

    #: of each queue
    kind: ClassVar[type[SqsBroker]] = SqsBroker

    def __init__(self, settings: Settings) -> None:
        section = _section(settings)
        declared = Declared(
            queues=section.queues,
            priorities=section.priorities,
            queues_setting="sqs.queues",
            priorities_setting="sqs.priorities",
        )
        super().__init__(settings, declared)

    def make(self, settings: Settings, route: Route) -> SqsBroker:
        """Make the broker of one queue; all brokers of a process share a client."""
        return self.kind(settings_of(settings, route))

    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease from one queue by one request."""
        return self.child(route).take(limit, seconds)

    @property
    def longest(self) -> int:
        """Most seconds that one request waits."""
        return self.child(Route()).longest


def _section(settings: Settings) -> SqsSettings:
    found: SqsSettings = settings.section("sqs") or SqsSettings()
    return found

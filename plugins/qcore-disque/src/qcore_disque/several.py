"""Decides how several queues and priorities live in Disque."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from qcore.errors import ConfigError
from qcore_disque.broker import BULK, DisqueBroker
from qcore_disque.leasing import LONGEST, jobs_of
from qcore_disque.nodes import Nodes
from qcore_queues.physical import PhysicalQueues
from qcore_queues.routes import Declared, Route, check_declared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery

#: between the parts of a queue's name; the name of a configuration has none
_SLASH: Final = "/"
#: seconds after which a wait that leaves a paused queue out looks whether it is resumed
_LOOK: Final = 1.0


def broker_of(settings: Settings) -> DisqueBroker | DisqueQueues:
    """Return a broker with the queues and priorities that are declared, or with one queue."""
    declared = settings.section("disque_queues") or settings.section("disque_priorities")
    return DisqueQueues(settings) if declared else DisqueBroker(settings)


def queue_of(name: str, route: Route) -> str:
    """Return the name at Disque: of the default queue that of the configuration, else no other has it."""
    if route == Route():
        return name
    return _SLASH.join(filter(None, (name, route.queue or "default", route.band_word)))


class DisqueQueues(PhysicalQueues[DisqueBroker]):
    """Queues and priorities at Disque, which is asked for a job of any of them by one command."""

    waits_for_all = True
    moves_messages = True
    #: of each queue
    kind: ClassVar[type[DisqueBroker]] = DisqueBroker

    def __init__(self, settings: Settings) -> None:
        queues: list[str] = settings.section("disque_queues") or []
        try:
            check_declared(queues)
        except ValueError as exc:
            raise ConfigError([f"disque_queues: {exc}"]) from exc
        self._nodes = Nodes.of(settings)
        declared = Declared(
            queues=queues,
            priorities=bool(settings.section("disque_priorities")),
            queues_setting="disque_queues",
            priorities_setting="disque_priorities",
        )
        super().__init__(settings, declared)

    def make(self, settings: Settings, route: Route) -> DisqueBroker:
        """Make the broker of one queue, over the connections of all."""
        return self.kind(attrs.evolve(settings, name=queue_of(settings.name, route)), self._nodes)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Take jobs of the first queue that has any, or wait for one in any of them."""
        order = self.routes.next()
        deadline = time.monotonic() + wait
        while limit > 0:
            routes = {self.child(route).queue: route for route in self.leased_from(order)}
            left = max(0.0, deadline - time.monotonic())
            if routes:
                # one that is resumed meanwhile is to be noticed
                wait_for = min(left, _LOOK) if len(routes) < len(order) else left
                if found := self.kept(self._take(routes, min(limit, BULK), wait_for)):
                    return found
            elif left:
                time.sleep(min(left, self.settings.poll))
            if time.monotonic() >= deadline:
                break
        return ()

    def _take(self, routes: dict[bytes, Route], limit: int, wait: float) -> list[Delivery]:
        jobs = jobs_of(self._nodes, [*routes], limit, wait)
        found: dict[Route, list[Any]] = {}
        for job in jobs:
            queue = job[0] if isinstance(job, list) and job and isinstance(job[0], bytes) else b""
            found.setdefault(routes.get(queue, Route()), []).append(job)
        return [
            one
            for route, some in found.items()
            for one in self.handed_out(route, self.child(route).handed_out(some))
        ]

    def move_queue(self, source: str, target: str) -> int:
        """Put the messages of each band of one queue into that of another."""
        to = {route.band: self.child(route).queue for route in self.routes.of(target)}
        routes = self.routes.of(source) if source != target else []
        return sum(self.child(route).move_to(to[route.band]) for route in routes)

    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Take jobs of one queue."""
        return self.child(route).lease(limit, seconds)

    @property
    def longest(self) -> int:
        """Most seconds that one command waits."""
        return int(LONGEST)

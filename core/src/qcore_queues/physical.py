"""Decides how brokers of one queue each are one broker of several."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import attrs
import msgspec

from qcore.errors import BackendError, QcoreError, QueueMissing
from qcore.interfaces import Broker
from qcore.model import Action, Settlement
from qcore_plugin_support import call_limit
from qcore_queues.physical_calls import PhysicalCalls
from qcore_queues.routes import BANDS, Route, Routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Delivery, Outgoing
    from qcore_queues.routes import Declared

#: dead letters that are read of one queue
_EVERY: Final = 1_000_000
#: seconds; no request waits in the service for a shorter rest of a wait
_REST: Final = 0.2

_T = TypeVar("_T")
_B = TypeVar("_B", bound=Broker)


@call_limit.each_call(lambda broker: broker.timeout)
class PhysicalQueues(PhysicalCalls, Generic[_B]):
    """Queues and priorities of a service that has neither: a broker for each queue and band.

    The user declares the queues. Receipts and the ids of dead letters say of which queue they are, so
    that any process finds it; those of the default queue and band are as they are without the others.
    What does not need another queue makes no request for it.
    """

    #: whether `lease` waits in the service for a message in any of the queues, by one request
    waits_for_all: ClassVar[bool] = False
    #: whether `move_queue` moves messages
    moves_messages: ClassVar[bool] = False

    def __init__(self, settings: Settings, declared: Declared) -> None:
        """Make the broker of the default queue, and others when they are needed.

        Raises:
            ConfigError: `Settings.queues` names one that is not declared.
            QueueMissing: none of them is there, and none is to be made.

        """
        self.settings = settings
        self.routes = Routes(declared, settings.queues)
        self._made: dict[Route, _B] = {}
        if not (settings.create or settings.owner):
            self._find()
        first = self.child(Route())
        self.timeout = getattr(first, "timeout", math.inf)
        alone = self.waits_for_all or self.routes.leased == 1
        self.capabilities = attrs.evolve(
            first.capabilities,
            queues=True,
            priorities=BANDS if declared.priorities else 1,
            pauses_queues=False,
            moves_queues=self.moves_messages,
            long_poll=first.capabilities.long_poll and alone,
            # what the broker of one queue may do, and is not asked for
            remove_messages=False,
            unique_ids=False,
            remembers_ended=False,
            cluster_status=False,
        )

    # -- what a service has to say ----------------------------------------------------------------

    @abstractmethod
    def make(self, settings: Settings, route: Route) -> _B:
        """Make the broker of one queue, over the connection that all share."""

    @abstractmethod
    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease from one queue by one request, which waits up to so many seconds in the service."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """Most seconds that one request of `take` waits; 0 = it does not."""

    # -- messages -----------------------------------------------------------------------------------

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, one queue after the other; an error has the ids of those accepted before."""
        by_route: dict[Route, list[Outgoing]] = {}
        for one in messages:
            self.routes.check(one.queue, one.priority)
            by_route.setdefault(Route.of(one), []).append(one)
        if len(by_route) > 1:
            self._refuse(messages)
        accepted: list[bytes] = []
        for route, some in by_route.items():
            try:
                self.child(route).enqueue(some)
            except BackendError as exc:
                exc.accepted = [*accepted, *exc.accepted]
                raise
            accepted += [one.id for one in some]

    def check_route(self, queue: str, priority: int) -> None:
        """Refuse a queue or priority that is not declared."""
        self.routes.check(queue, priority)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease from the first queue that has a message; while all are empty, wait at the first of them."""
        if limit <= 0:
            return ()
        routes = self.routes.next()
        deadline = time.monotonic() + wait
        waited_at: Route | None = None
        while True:
            order = self.leased_from(routes)
            for route in order:
                # what has just been waited at need not be looked at
                if route != waited_at and (found := self._taken(route, limit, 0)):
                    return found
            rest = deadline - time.monotonic()
            if rest <= 0:
                return ()
            seconds = self._seconds(rest) if order else 0
            waited_at = order[0] if seconds else None
            if waited_at is None:
                time.sleep(min(rest, self.settings.poll))
            elif found := self._taken(waited_at, limit, seconds):
                return found
            call_limit.again()

    def leased_from(self, routes: Sequence[Route]) -> Sequence[Route]:
        """Return those of the routes whose queues are not paused."""
        left_out = self.settings.left_out
        return routes if left_out is None else [one for one in routes if one.queue not in left_out]

    def kept(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """Release what a request has brought of queues that were paused meanwhile; return the rest."""
        left_out = self.settings.left_out
        if left_out is None:
            return found
        late = [one for one in found if self.routes.of_receipt(one.receipt)[0].queue in left_out]
        if late:
            self.settle([Settlement(one.receipt, Action.RELEASE) for one in late])
        return [one for one in found if one not in late]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases, each at its queue."""
        by_route: dict[Route, list[Settlement]] = {}
        for one in settlements:
            route, receipt = self.routes.of_receipt(one.receipt)
            by_route.setdefault(route, []).append(msgspec.structs.replace(one, receipt=receipt))
        self._each(by_route, lambda child, some: child.settle(some))

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Renew leases, each at its queue."""
        by_route: dict[Route, list[bytes]] = {}
        for one in receipts:
            route, receipt = self.routes.of_receipt(one)
            by_route.setdefault(route, []).append(receipt)
        self._each(by_route, lambda child, some: child.extend(some, seconds))

    # -- all queues ---------------------------------------------------------------------------------

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List the dead letters of all in the order they died; all are read for it."""
        found = [
            msgspec.structs.replace(one, id=route.prefix + one.id)
            for route in self.routes.all
            for one in self.child(route).dead_letters(_EVERY)
        ]
        found.sort(key=lambda one: (one.dead_since, one.id))
        if after is not None:
            ids = [one.id for one in found]
            found = found[ids.index(after) + 1 :] if after in ids else []
        return found[:limit]

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again, each in the queue and band that it came from."""
        return sum(self._each(self._letters(ids), lambda child, some: child.requeue(some)))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return sum(self._each(self._letters(ids), lambda child, some: child.delete(some)))

    def ping(self) -> None:
        """Ask for the default queue."""
        self.child(Route()).ping()

    def server_time(self) -> float | None:
        """Return the time of the service."""
        return self.child(Route()).server_time()

    def queue_id(self) -> str | None:
        """Return that of the default queue."""
        return self.child(Route()).queue_id()

    def info(self) -> str:
        """Return that of the default queue, and how many queues of the service there are."""
        return f"{self.child(Route()).info()}, {len(self.routes.all)} queues there"

    def close(self) -> None:
        """Close all."""
        for child in self._made.values():
            child.close()

    # -- the brokers --------------------------------------------------------------------------------

    def child(self, route: Route) -> _B:
        """Return the broker of one queue."""
        found = self._made.get(route)
        if found is None:
            found = self._made[route] = self.make(self.settings, route)
        return found

    def _find(self) -> None:
        """Make all brokers for a process that makes no queues.

        Raises:
            QueueMissing: none of the queues is there.

        """
        missing: dict[Route, QueueMissing] = {}
        for route in self.routes.all:
            try:
                self._made[route] = self.make(self.settings, route)
            except QueueMissing as exc:
                missing[route] = exc
        if not self._made:
            raise missing[Route()]
        # one that is not there is empty
        for route in missing:
            self._made[route] = self.make(attrs.evolve(self.settings, create=True), route)

    def _refuse(self, messages: Sequence[Outgoing]) -> None:
        """Have a message that will be refused be refused before another queue has accepted one."""
        can = self.capabilities
        for one in messages:
            too_large = can.max_bytes is not None and len(one.body) > can.max_bytes
            if too_large or (one.delay > 0 and not can.delay):
                self.child(Route.of(one)).enqueue([one])

    def _taken(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease from one queue, which may be paused while the request is under way."""
        return self.kept(self.handed_out(route, self.take(route, limit, seconds)))

    def _seconds(self, rest: float) -> int:
        """Return how long one request waits at the first queue, while the others are not looked at."""
        if rest <= _REST:
            return 0
        others = self.routes.leased > 1
        most = min(self.longest, max(1, math.ceil(self.settings.poll))) if others else self.longest
        return min(most, math.ceil(rest))

    @staticmethod
    def handed_out(route: Route, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return what one queue has handed out, with receipts that say so."""
        prefix = route.prefix.encode()
        if not prefix:
            return found
        return [msgspec.structs.replace(one, receipt=prefix + one.receipt) for one in found]

    def _letters(self, ids: Sequence[str]) -> dict[Route, list[str]]:
        by_route: dict[Route, list[str]] = {}
        for one in ids:
            route, id_ = self.routes.of_id(one)
            by_route.setdefault(route, []).append(id_)
        return by_route

    def _each(self, by_route: Mapping[Route, list[Any]], call: Callable[[_B, list[Any]], _T]) -> list[_T]:
        """Call each broker, also after one has failed; raise the first error in the end."""
        done: list[_T] = []
        errors: list[QcoreError] = []
        for route, some in by_route.items():
            try:
                done.append(call(self.child(route), some))
            except QcoreError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]
        return done

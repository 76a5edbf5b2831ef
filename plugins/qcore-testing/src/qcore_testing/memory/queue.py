"""Which state a message in memory is in, and when it changes."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from qcore.interfaces import QueueState, Waiting
from qcore.model import Action, DeadLetter, Delivery, QueueSize, Settlement
from qcore_testing.memory.backlog import Backlog
from qcore_testing.memory.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Outgoing


class MemoryQueue:
    """One queue, shared by every broker and thread that knows it."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.changed = threading.Condition()
        self._clock = clock
        self._wall = wall
        self._numbers = itertools.count(1)
        self._waiting = Backlog()
        self._leased: dict[bytes, Message] = {}
        #: when to look at a lease, a heap; outdated entries are ignored
        self._ends: list[tuple[float, bytes]] = []
        self._dead_letters: dict[str, tuple[Message, str, float]] = {}
        self._ids: set[bytes] = set()
        self._status: dict[str, tuple[bytes, float]] = {}

    # -- producers --------------------------------------------------------------------------

    def put(self, messages: Sequence[Outgoing]) -> None:
        """Take messages in, but for those whose id is here already."""
        with self.changed:
            now = self._clock()
            for message in messages:
                if message.id not in self._ids:
                    self._ids.add(message.id)
                    due = now + max(0.0, message.delay)
                    self._waiting.add(
                        Message(
                            message.id,
                            message.body,
                            next(self._numbers),
                            due,
                            message.queue,
                            message.priority,
                        )
                    )
            self.changed.notify_all()

    def purge(self, queue: str | None = None) -> int:
        """Drop what is neither leased nor dead-lettered, of a queue or of all."""
        return len(self._drop(lambda message: queue in (None, message.queue)))

    def remove_messages(self, ids: Sequence[bytes]) -> list[bytes]:
        """Drop what is neither leased nor dead-lettered of these ids; return the bodies."""
        wanted = frozenset(ids)
        return [message.body for message in self._drop(lambda message: message.id in wanted)]

    def find_messages(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return which of these ids messages bear, in any state."""
        with self.changed:
            held = {message.id for message in self._waiting}
            held.update(message.id for message in self._leased.values())
            held.update(message.id for message, _, _ in self._dead_letters.values())
            return [one for one in ids if one in held]

    # -- consumers --------------------------------------------------------------------------

    def take(
        self,
        limit: int,
        wait: float,
        lease: float,
        owner: bytes = b"",
        order: Sequence[str] | None = None,
    ) -> list[Delivery]:
        """Lease up to `limit` messages for `lease` seconds, waiting up to `wait` for the first."""
        with self.changed:
            now = self._clock()
            deadline = now + wait
            while True:
                self._return_ended(now)
                found = self._waiting.take(limit, order)
                taken = [self._lease(message, now + lease, owner) for message in found]
                if taken or now >= deadline:
                    return taken
                self.changed.wait(min(deadline, self._next_change()) - now)
                now = self._clock()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases; one that has ended already is ignored."""
        with self.changed:
            now = self._clock()
            self._return_ended(now)
            for settlement in settlements:
                message = self._leased.pop(settlement.receipt, None)
                if message is not None:
                    self._settle(message, settlement, now)
            self.changed.notify_all()

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Let leases end `seconds` from now."""
        with self.changed:
            now = self._clock()
            self._return_ended(now)
            for receipt in receipts:
                message = self._leased.get(receipt)
                if message is not None:
                    message.until = now + seconds
                    heapq.heappush(self._ends, (message.until, receipt))
            # a lease may end sooner now than those who wait believe
            self.changed.notify_all()

    def release_owner(self, owner: bytes) -> int:
        """Release every lease of a process that is gone."""
        with self.changed:
            held = [receipt for receipt, message in self._leased.items() if message.owner == owner]
            self.settle([Settlement(receipt, Action.RELEASE) for receipt in held])
            return len(held)

    # -- dead letters -----------------------------------------------------------------------

    def dead_letters(self, limit: int, after: str | None) -> list[DeadLetter]:
        """List dead letters, oldest first."""
        with self.changed:
            behind = 0 if after is None else int(after) if after.isdecimal() else 0
            if after is not None and not behind:
                return []
            names = [name for name in self._dead_letters if int(name) > behind]
            return [self._dead_letter(name) for name in names[:limit]]

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready, as if new."""
        with self.changed:
            found = self._exhume(ids)
            now = self._clock()
            for message in found:
                fresh = Message(
                    message.id, message.body, next(self._numbers), now, message.queue, message.priority
                )
                self._waiting.add(fresh)
            self.changed.notify_all()
            return len(found)

    def forget(self, ids: Sequence[str]) -> int:
        """Drop dead letters."""
        with self.changed:
            found = self._exhume(ids)
            self._ids.difference_update(message.id for message in found)
            return len(found)

    # -- looking on -------------------------------------------------------------------------

    def size(self) -> QueueSize:
        """Count the messages by state."""
        with self.changed:
            now = self._clock()
            self._return_ended(now)
            ready, delayed = self._waiting.counted()
            return QueueSize(
                ready=ready, leased=len(self._leased), delayed=delayed, dead_letters=len(self._dead_letters)
            )

    def peek(self) -> bytes | None:
        """Return the body of the message that has been ready for longest."""
        with self.changed:
            self._return_ended(self._clock())
            found = self._waiting.oldest()
            return None if found is None else found.body

    def queues(self) -> list[QueueState]:
        """Return the queues that have messages or are paused."""
        with self.changed:
            self._return_ended(self._clock())
            leased = Counter(message.queue for message in self._leased.values())
            ready, delayed = self._waiting.counted_by_queue()
            names = {"", *leased, *ready, *delayed, *self._waiting.paused}
            sizes = {name: QueueSize(ready[name], leased[name], delayed[name]) for name in sorted(names)}
            return [self._state(name, size) for name, size in sizes.items()]

    def pause(self, queue: str, *, paused: bool) -> None:
        """Have no message of a queue leased, or have them leased again."""
        with self.changed:
            (self._waiting.paused.add if paused else self._waiting.paused.discard)(queue)
            self.changed.notify_all()

    def is_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        with self.changed:
            return queue in self._waiting.paused

    def move(self, source: str, target: str) -> int:
        """Put what is not leased from one queue into another."""
        with self.changed:
            self._return_ended(self._clock())
            moved = self._waiting.remove(lambda message: message.queue == source)
            for message in moved:
                message.queue = target
                self._waiting.add(message)
            self.changed.notify_all()
            return len(moved)

    def waiting(self, limit: int, queue: str | None) -> list[Waiting]:
        """Return messages that are not leased."""
        with self.changed:
            now = self._clock()
            self._return_ended(now)
            found = self._waiting.waiting(self._waiting.queues() if queue is None else [queue])
            return [
                Waiting(one.body, one.queue, one.priority, max(0.0, one.due - now)) for one in found[:limit]
            ]

    def publish(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep a status for `ttl` seconds."""
        with self.changed:
            self._status.pop(cluster, None)
            if body:
                self._status[cluster] = (body, self._clock() + ttl)

    def statuses(self) -> list[bytes]:
        """Return what is published and not expired."""
        with self.changed:
            now = self._clock()
            return [body for body, until in self._status.values() if until > now]

    # -- under the lock ---------------------------------------------------------------------

    def _drop(self, chosen: Callable[[Message], bool]) -> list[Message]:
        with self.changed:
            self._return_ended(self._clock())
            dropped = self._waiting.remove(chosen)
            self._ids.difference_update(message.id for message in dropped)
            return dropped

    def _state(self, queue: str, size: QueueSize) -> QueueState:
        oldest = self._waiting.oldest(queue)
        return QueueState(queue, size, queue in self._waiting.paused, None if oldest is None else oldest.body)

    def _lease(self, message: Message, until: float, owner: bytes) -> Delivery:
        message.receipt = next(self._numbers).to_bytes(8, "big")
        message.until = until
        message.owner = owner
        message.deliveries += 1
        self._leased[message.receipt] = message
        heapq.heappush(self._ends, (until, message.receipt))
        return Delivery(
            body=message.body,
            receipt=message.receipt,
            deliveries=message.deliveries,
            failures=message.failures,
            crashes=message.crashes,
            available=message.available,
        )

    def _return_ended(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, receipt = heapq.heappop(self._ends)
            message = self._leased.get(receipt)
            if message is not None and message.until <= now:
                del self._leased[receipt]
                message.available = self._wall() - (now - message.until)
                self._waiting.add(message)
        self._waiting.ripen(now)

    def _next_change(self) -> float:
        return min(self._waiting.next_due(), self._ends[0][0] if self._ends else float("inf"))

    def _settle(self, message: Message, settlement: Settlement, now: float) -> None:
        message.available = 0.0
        if settlement.action is Action.ACK:
            self._ids.discard(message.id)
            return
        if settlement.action is Action.RELEASE:
            message.deliveries -= 1
            # without delay it goes back to its old place, in front of what came later
            if settlement.delay > 0:
                message.due = now + settlement.delay
            self._waiting.add(message)
            return
        message.failures = settlement.failures
        message.crashes = settlement.crashes
        if settlement.action is Action.DEAD_LETTER:
            name = str(next(self._numbers))
            self._dead_letters[name] = (message, settlement.reason, self._wall())
            return
        message.due = now + max(0.0, settlement.delay)
        message.index = next(self._numbers)
        self._waiting.add(message)

    def _dead_letter(self, name: str) -> DeadLetter:
        message, reason, at = self._dead_letters[name]
        return DeadLetter(
            id=name,
            body=message.body,
            reason=reason,
            dead_since=at,
            failures=message.failures,
            crashes=message.crashes,
        )

    def _exhume(self, ids: Sequence[str]) -> list[Message]:
        found = (self._dead_letters.pop(name, None) for name in ids)
        return [entry[0] for entry in found if entry is not None]

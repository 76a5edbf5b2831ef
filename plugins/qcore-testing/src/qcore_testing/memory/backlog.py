"""Which of the messages that are not leased is leased next."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qcore_testing.memory.message import Message


class Backlog:
    """Ready and delayed messages by queue; whoever uses it has the lock."""

    def __init__(self) -> None:
        #: those that are not due yet, a heap by due time and place
        self._delayed: list[tuple[float, int, Message]] = []
        #: by queue, each a heap by priority, due time and place
        self._ready: dict[str, list[tuple[int, float, int, Message]]] = {}
        #: how many messages each queue has had leased, so that those of one priority take turns
        self._turns: dict[str, int] = {}
        #: queues of which nothing is leased
        self.paused: set[str] = set()

    def __iter__(self) -> Iterator[Message]:
        for heap in self._ready.values():
            yield from (entry[-1] for entry in heap)
        yield from (entry[-1] for entry in self._delayed)

    def add(self, message: Message) -> None:
        """Take a message in; `ripen` finds out whether it is ready."""
        heapq.heappush(self._delayed, (message.due, message.index, message))

    def ripen(self, now: float) -> None:
        """Make those ready that are due."""
        while self._delayed and self._delayed[0][0] <= now:
            _, index, message = heapq.heappop(self._delayed)
            ready = self._ready.setdefault(message.queue, [])
            heapq.heappush(ready, (-message.priority, message.due, index, message))

    def take(self, limit: int, order: Sequence[str] | None) -> list[Message]:
        """Return up to `limit` ready messages: of these queues in turn, or of all by priority."""
        taken: list[Message] = []
        while len(taken) < limit and (queue := self._next(order)) is not None:
            self._turns[queue] = self._turns.get(queue, 0) + 1
            taken.append(heapq.heappop(self._ready[queue])[-1])
            self._forget_if_empty(queue)
        return taken

    def remove(self, chosen: Callable[[Message], bool]) -> list[Message]:
        """Drop messages and return them."""
        dropped = [message for message in self if chosen(message)]
        gone = {id(message) for message in dropped}
        self._delayed = [entry for entry in self._delayed if id(entry[-1]) not in gone]
        heapq.heapify(self._delayed)
        for queue, heap in list(self._ready.items()):
            self._ready[queue] = [entry for entry in heap if id(entry[-1]) not in gone]
            heapq.heapify(self._ready[queue])
            self._forget_if_empty(queue)
        return dropped

    def waiting(self, queues: Iterable[str]) -> list[Message]:
        """Return the messages of these queues, those that are leased first in front."""
        chosen = set(queues)
        found = [message for message in self if message.queue in chosen]
        later = {id(entry[-1]) for entry in self._delayed}
        return sorted(found, key=lambda one: (id(one) in later, -one.priority, one.due, one.index))

    def queues(self) -> set[str]:
        """Return the queues that have messages or are paused."""
        return {message.queue for message in self} | self.paused

    def oldest(self, queue: str | None = None) -> Message | None:
        """Return the ready message that became due first, of a queue or of all."""
        heaps = self._ready.values() if queue is None else [self._ready.get(queue, [])]
        found = [entry[-1] for heap in heaps for entry in heap]
        return min(found, key=lambda one: (one.due, one.index), default=None)

    def counted(self) -> tuple[int, int]:
        """Return how many messages are ready and how many are delayed."""
        return sum(map(len, self._ready.values())), len(self._delayed)

    def counted_by_queue(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many messages of each queue are ready and how many are delayed."""
        ready = Counter({name: len(heap) for name, heap in self._ready.items()})
        return ready, Counter(entry[-1].queue for entry in self._delayed)

    def next_due(self) -> float:
        """Return when the next delay ends."""
        return self._delayed[0][0] if self._delayed else float("inf")

    def _forget_if_empty(self, queue: str) -> None:
        if not self._ready[queue]:
            del self._ready[queue]
        if not self._ready:
            self._turns.clear()

    def _next(self, order: Sequence[str] | None) -> str | None:
        """Return the queue whose message is leased next."""
        names = self._ready if order is None else order
        open_ = [name for name in names if self._ready.get(name) and name not in self.paused]
        if order is None:
            open_.sort(key=lambda name: (self._ready[name][0][0], self._turns.get(name, 0)))
        return open_[0] if open_ else None

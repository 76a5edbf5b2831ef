"""How many messages a worker leases at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Delivery
    from qcore.settings.options import Options

#: A batch is doubled while it takes less than this, nanoseconds, because results of a longer one
#: would reach those who wait for them too late.
TARGET: Final = 10_000_000
#: Most messages in a batch, because beyond it a round trip to the broker no longer affects the rate.
_LARGEST: Final = 256
#: Most bytes of messages in a batch, so that large arguments do not fill memory.
_BYTES: Final = 1 << 20


class Prefetch:
    """Chooses the size of batches: larger for short tasks, smaller for long or large ones."""

    def __init__(self, options: Options, bulk: int) -> None:
        caps = [_LARGEST, bulk]
        if options.bulk:
            caps.append(options.bulk)
        if options.queue_limit:
            caps.append(max(1, options.queue_limit // options.workers))
        self._cap = min(caps)
        # Where time counts as well, a worker may run more.
        self._recycle = 0 if options.recycle_after else options.recycle
        self._wanted = 1

    def limit(self, wanted: int, done: int) -> int:
        """Return how many of so many messages a worker may lease that has finished `done` tasks."""
        left = self._recycle - done if self._recycle else self._cap
        return max(0, min(wanted, self._cap, left))

    @property
    def wanted(self) -> int:
        """The size of a batch, as it was found last."""
        return self._wanted

    def begin(self, wanted: int) -> int:
        """Begin with batches of this size, 0 = not known; return how many messages are leased first."""
        self._wanted = max(1, min(wanted, self._cap))
        return self.next(0)

    def reset(self) -> None:
        """Begin again with one message, because the queue is empty."""
        self._wanted = 1

    def next(self, done: int) -> int:
        """Return the size of the next batch of a worker that has finished `done` tasks."""
        left = self._recycle - done if self._recycle else self._cap
        return max(1, min(self._wanted, left))

    def adapt(self, deliveries: Sequence[Delivery], taken: int) -> None:
        """Adapt the size of the next batch to the time this one took, nanoseconds."""
        count = len(deliveries)
        if taken > 2 * TARGET:
            self._wanted = max(1, count * TARGET // taken)
        elif count >= self._wanted and taken < TARGET:
            self._wanted = min(self._cap, self._wanted * 2)
        size = sum(map(len, [delivery.body for delivery in deliveries])) // count
        self._wanted = max(1, min(self._wanted, _BYTES // (size + 1)))

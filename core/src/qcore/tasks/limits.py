"""Decides how many tasks of one key run."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BackendError
from qcore_process.limit_backoff import ConcurrencyBackoff
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore.messages.head import Head
    from qcore_process.connection_pool import ConnectionPool

_log = logging.getLogger("qcore.limits")

#: Seconds a permit is held without a sign of life of its holder. Supervisors renew it; when one dies
#: with its workers, the next task may begin after this.
PERMIT_TTL: Final = 60.0
#: A longer key is kept by its hash, characters.
_LONGEST: Final = 300


@attrs.frozen(kw_only=True)
class Limit:
    """What holds for all tasks of one key."""

    key: str
    #: most that run at once; 0 = no limit
    concurrency: int = 0
    #: seconds from one start to the next; 0.0 = no limit
    interval: float = 0.0

    @property
    def permit_key(self) -> str:
        """Return the key of its permits."""
        return f"limit:{self.key}"


def limit_of(head: Head) -> Limit | None:
    """Return the limit a task is under."""
    if head.concurrency is None and head.rate is None:
        return None
    count, seconds = head.rate or (1, 0.0)
    key = head.limit_key or head.name
    return Limit(key=short(key), concurrency=head.concurrency or 0, interval=seconds / count)


def short(key: str) -> str:
    """Return a key no longer than stores take."""
    return key if len(key) <= _LONGEST else hashlib.sha256(key.encode()).hexdigest()


class Limiter:
    """Lets tasks begin, or says when to ask again."""

    def __init__(self, stores: ConnectionPool[CoordinationStore]) -> None:
        self._stores = stores
        self._backoff = ConcurrencyBackoff()

    def acquire(self, id: bytes, limit: Limit) -> float:
        """Return 0.0 if a task may begin, else the seconds after which it may ask again.

        Raises:
            BackendUnavailable: the answer is unknown; ask again.

        """
        if limit.concurrency and self._backoff.full(limit.permit_key):
            return self._backoff.wait(limit.permit_key, known=True)
        with self._stores.connection(create=True) as store:
            if (
                limit.concurrency
                and store.acquire(limit.permit_key, id, limit.concurrency, PERMIT_TTL) is not None
            ):
                return self._backoff.wait(limit.permit_key, known=False)
            if limit.interval:
                # A task is given the same slot however often it asks, so waiting tasks use up no slots.
                wait = store.reserve(f"rate:{limit.key}", id, limit.interval, 1)
                if wait > 0:
                    self.release(id, limit)
                    return wait
        return 0.0

    def release(self, id: bytes, limit: Limit) -> None:
        """Give a task's permit to the next; what cannot be said now is so after `PERMIT_TTL` seconds."""
        if limit.concurrency:
            self._backoff.freed(limit.permit_key)
            with self._stores.connection(create=True) as store:
                release(store, [(limit.permit_key, id)])


def release(store: CoordinationStore, permits: Sequence[tuple[str, bytes]]) -> None:
    """Give permits back, as far as the store answers."""
    try:
        if permits:
            store.release(permits)
    except BackendError as exc:
        _log.warning("not released until they expire: %s: %s", counted(len(permits), "permit"), exc)

"""Decides how many tasks of one key run."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BackendError, NotSupported
from qcore.tasks.limit_backoff import ConcurrencyBackoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import ResultStore
    from qcore.messages.envelope import Head

_log = logging.getLogger("qcore.limits")

#: Seconds a place is held without a sign of life of whoever holds it. Supervisors prolong it; when
#: one dies with its workers, the next task may begin after this.
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
    def place(self) -> str:
        """Return the key of its places."""
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


def coordination_of(store: ResultStore, what: str) -> CoordinationStore:
    """Return the notes of a store.

    Raises:
        NotSupported: it keeps none; the message names the option that needs them.

    """
    if store.notes is None:
        msg = (
            f"{what} needs a result store that changes shared notes atomically, which {type(store).__name__}"
            " cannot; choose another by result_store, such as sqlite or redis"
        )
        raise NotSupported(msg)
    return store.notes


class Limiter:
    """Lets tasks begin, or tells them when to come again."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._crowd = ConcurrencyBackoff()

    def enter(self, id: bytes, limit: Limit) -> float:
        """Return 0.0 if a task may begin, else the seconds after which it may ask again.

        Raises:
            BackendUnavailable: nobody knows; ask again.
            NotSupported: the store keeps no notes.

        """
        if limit.concurrency and self._crowd.full(limit.place):
            return self._crowd.wait(limit.place, known=True)
        notes = coordination_of(self._store, "concurrency= or rate=")
        if limit.concurrency and notes.acquire(limit.place, id, limit.concurrency, PERMIT_TTL) is not None:
            return self._crowd.wait(limit.place, known=False)
        if limit.interval:
            # Told of the same turn however often it asks, so those that wait do not crowd.
            wait = notes.reserve(f"rate:{limit.key}", id, limit.interval, 1)
            if wait > 0:
                self.leave(id, limit)
                return wait
        return 0.0

    def leave(self, id: bytes, limit: Limit) -> None:
        """Give a task's place to the next; what cannot be said now is so after `PERMIT_TTL` seconds."""
        if limit.concurrency and self._store.notes is not None:
            self._crowd.freed(limit.place)
            release(self._store.notes, [(limit.place, id)])


def release(notes: CoordinationStore, places: Sequence[tuple[str, bytes]]) -> None:
    """Give places up, as far as the store answers."""
    try:
        if places:
            notes.release(places)
    except BackendError as exc:
        _log.warning("%d places are kept until they expire: %s", len(places), exc)

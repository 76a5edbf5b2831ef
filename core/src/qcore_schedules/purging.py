"""How a purge releases the permits of schedules whose tasks it removes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from qcore.errors import QueueMissing
from qcore.model import ID_AT
from qcore_schedules.messages import permit_key
from qcore_schedules.sealed import stored_schedules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker
    from qcore.runtime import Runtime

#: Most permits of one schedule: of the task that runs, and of one that waits.
_PERMITS: Final = 2
#: Seconds for which the permit of a question is held if this process dies.
_ASKING: Final = 5.0


def purge(runtime: Runtime, broker: Broker) -> int:
    """Remove every message that waits; return how many. Slots whose tasks are removed may fire again.

    A permit is released only if its task was removed one by one, because a task that runs keeps it.
    A broker that cannot remove single messages leaves that to the next slots.
    """
    removed = 0
    if broker.capabilities.remove_messages:
        keys = _keys(runtime)
        if keys:
            with runtime.coordination_stores.connection() as store:
                removed = _remove(store, broker, keys)
    return removed + broker.purge()


def _keys(runtime: Runtime) -> list[str]:
    """Return the keys of the permits of schedules whose tasks are for this cluster."""
    with suppress(QueueMissing), stored_schedules(runtime) as store:
        return [permit_key(one.name) for one in store.all() if one.overlap != "allow" and not one.cluster]
    return []


def _remove(store: CoordinationStore, broker: Broker, keys: Sequence[str]) -> int:
    removed = 0
    for _ in range(_PERMITS):
        # The holder that came first is seen; once it is released, the other is.
        held = {holder: key for key in keys if (holder := _holder(store, key)) is not None}
        if not held:
            break
        gone = {bytes(body[ID_AT]) for body in broker.remove_messages(list(held))}
        store.release([(key, holder) for holder, key in held.items() if holder in gone])
        removed += len(gone)
        keys = [key for holder, key in held.items() if holder in gone]
    return removed


def _holder(store: CoordinationStore, key: str) -> bytes | None:
    """Return who holds the first permit of a key."""
    ours = os.urandom(16)
    holder = store.acquire(key, ours, 1, _ASKING)
    if holder is None:
        store.release([(key, ours)])
    return holder

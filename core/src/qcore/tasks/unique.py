"""Tasks enqueued only once, and what limits need."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from qcore.errors import NotSupported
from qcore.tasks.limits import release, short
from qcore_names.resolve import imported
from qcore_values.canonical import canonical_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Serializer
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call, Sealed

#: Seconds a task that has not ended keeps its key: a producer may have died before it could
#: enqueue what it took the key for.
_KEPT: Final = 86400.0


def key_of(call: Call, serializer: Serializer) -> str:
    """Return the key of a unique call, the same however its arguments are written; empty if it is not."""
    unique = call.options.unique
    if not unique:
        return ""
    if isinstance(unique, str):
        return f"unique:{short(unique)}"
    written = canonical_call(imported(call.name), call.args, call.kwargs, serializer)
    return f"unique:{hashlib.sha256(call.name.encode() + bytes(1) + written).hexdigest()}"


def claim(runtime: Runtime, call: Call, key: str, id: bytes) -> bytes | None:
    """Take the key of a unique call for its task; return who has it if it is taken."""
    options = call.options
    # A task that waits for its delay has its day from then on.
    kept = _KEPT + options.delay if options.unique_for is None else options.unique_for
    with runtime.coordination_stores.connection(create=True) as coordination:
        holder = coordination.acquire(key, id, 1, kept)
        if holder is None or options.unique_for is not None:
            return holder
        with runtime.stores.connection(create=True) as store:
            found = store.get([holder])[0]
        if found is None or not found.state.final:
            return holder
        # It has ended, and the worker that ran it died before it could give the key back.
        coordination.release([(key, holder)])
        return coordination.acquire(key, id, 1, kept)


def release_keys(runtime: Runtime, sealed: Sequence[Sealed]) -> None:
    """Let others have the keys of calls that could not be enqueued."""
    permits = [(one.unique, one.message.id) for one in sealed if one.unique]
    if permits:
        with runtime.coordination_stores.connection(create=True) as store:
            release(store, permits)


def check_limits(runtime: Runtime, call: Call) -> None:
    """See that the tasks of a call can be held to their limits.

    Raises:
        NotSupported: the broker cannot do what that takes.

    """
    with runtime.brokers.connection(create=True) as broker:
        if not broker.capabilities.delay:
            msg = (
                f"concurrency= or rate= of {call.name} needs a broker that can delay a message, which"
                f" {type(broker).__name__} cannot; choose another broker, or leave the limit out"
            )
            raise NotSupported(msg)

"""Whether the cluster of a task that has begun still lives."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BackendError
from qcore.model import State
from qcore.tasks.limits import PERMIT_TTL
from qcore_queues.flags import ControlFlags

if TYPE_CHECKING:
    from qcore.coordination import CoordinationStore
    from qcore.model import Result, StoredResult
    from qcore.runtime import Runtime

#: Result group of what has begun, may run only once and has not ended: so every store can list it.
BEGUN: Final = "qcore:begun"
#: Bytes by which the owners of the workers of one cluster end.
CLUSTER: Final = 8
#: What is stored of such a task if its cluster is dead.
INTERRUPTED: Final = (
    "Interrupted: it has begun, and its cluster has given no sign of life for "
    f"{PERMIT_TTL:.0f} seconds; it is not run again"
)


def sign_of(owner: bytes) -> str:
    """Return the flag that a cluster keeps while it lives."""
    return f"alive:{owner[-CLUSTER:].hex()}"


def keep_sign(runtime: Runtime, store: CoordinationStore, owner: bytes) -> None:
    """Keep the flag that says that a cluster lives."""
    key = sign_of(owner)
    store.set_flag(key, ControlFlags(runtime.control_sealer).sign(key), PERMIT_TTL)


def read_result(runtime: Runtime, stored: StoredResult) -> Result:
    """Verify and decode a record; a task that has begun was interrupted if its cluster is dead.

    Raises:
        DecodeError: its serializer is not accepted here.
        EnvelopeError: its seal is not valid; see `Results.open`.

    """
    body = runtime.results.open(stored.id, stored.body)
    result = runtime.results.result(stored.id, body)
    if body.begun is not None:
        with suppress(BackendError), runtime.coordination_stores.connection() as store:
            if not ControlFlags(runtime.control_sealer).genuine(store, [body.begun.sign]):
                return attrs.evolve(result, state=State.FAILED, error=INTERRUPTED)
    return result

"""Ends tasks that may run only once and whose cluster died."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from qcore.begun import BEGUN, INTERRUPTED, sign_of
from qcore.errors import EnvelopeError
from qcore.tasks.limits import PERMIT_TTL
from qcore_queues.flags import ControlFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import ResultStore
    from qcore.messages.results import Begun, ResultBody
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.supervision.recovery import Recovery

_log = logging.getLogger("qcore.maintenance")

#: Lock of the supervisor that ends them; the others leave them to it.
_LOCK: Final = "orphans"
#: Tasks ended at a time, so that it is done before the lock expires.
_BULK: Final = 200


class Orphans:
    """Stores that they were interrupted, and enqueues what follows from that, once."""

    def __init__(self, runtime: Runtime, recovery: Recovery) -> None:
        self._runtime = runtime
        self._recovery = recovery
        self._flags = ControlFlags(runtime.control_sealer)
        #: ids of records that cannot be read, each logged once
        self._unreadable: set[bytes] = set()

    def end(self, store: ResultStore, coordination: CoordinationStore, own: bytes) -> None:
        """End those of dead clusters; the tasks of the cluster with the owner `own` are its supervisor's."""
        if not self._orphans(store, coordination, own):
            return
        holder = os.urandom(16)
        if coordination.acquire(_LOCK, holder, 1, PERMIT_TTL) is not None:
            return
        try:
            # Another supervisor may have ended some of them meanwhile.
            for record, body, begun in self._orphans(store, coordination, own)[:_BULK]:
                self._recovery.interrupt(record, body, begun, INTERRUPTED)
        finally:
            coordination.release([(_LOCK, holder)])

    def _orphans(
        self, store: ResultStore, coordination: CoordinationStore, own: bytes
    ) -> list[tuple[StoredResult, ResultBody, Begun]]:
        begun = list(self._begun(store))
        signs = sorted({one.sign for _, _, one in begun} - {sign_of(own)})
        dead = set(signs) - self._flags.genuine(coordination, signs).keys()
        return [found for found in begun if found[2].sign in dead]

    def _begun(self, store: ResultStore) -> Iterator[tuple[StoredResult, ResultBody, Begun]]:
        for one in store.group(BEGUN):
            try:
                body = self._runtime.results.open(one.id, one.body)
            except EnvelopeError as exc:
                if one.id not in self._unreadable:
                    self._unreadable.add(one.id)
                    _log.error("whether task %s was interrupted is not known: %s", one.id.hex(), exc)
            else:
                if body.begun is not None:
                    yield one, body, body.begun

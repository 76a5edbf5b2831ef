"""Decides what is saved where a store refuses, and what is forgotten."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected
from qcore.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import ResultStore
    from qcore.messages.results import Results
    from qcore.model import StoredResult

_log = logging.getLogger("qcore.results")


def save_each(store: ResultStore, results: Sequence[StoredResult], sealing: Results) -> None:
    """Save results; of a result that the store refuses, save a reduced record.

    Raises:
        BackendRejected: the store refuses the reduced record as well.

    """
    try:
        store.save(results)
    except BackendRejected:
        for one in results:
            try:
                store.save([one])
            except BackendRejected as exc:
                # Otherwise the task would be redelivered and run again, as long as its result is refused.
                _log.error("result refused, storing only how the task ended task=%s: %s", one.id.hex(), exc)
                store.save([sealing.reduced(one, exc)])


def forget_failures(store: ResultStore, ids: Sequence[bytes], *, before: float = math.inf) -> None:
    """Delete the failures of tasks that were requeued and will run again.

    Otherwise the next delivery would take the old failure for the end of this one's runs. A failure
    that was saved after `before`, the epoch seconds of a lease, belongs to the worker that took the
    message over, and stays.
    """
    if ids:
        found = [one for one in store.get(ids) if one is not None]
        old = [one.id for one in found if one.state is State.FAILED and one.finished < before]
        if old:
            store.delete(old)

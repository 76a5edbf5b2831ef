"""The order of writes: results, then what follows from them, then acknowledgements."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendError, BackendRejected
from qcore.flows.continuation import KEPT
from qcore.messages.results import save_each
from qcore.messages.workflow import derived, key_of
from qcore.model import Action, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.flows.continuation import ContinuationBuilder
    from qcore.interfaces import Broker, ResultStore
    from qcore.messages.workflow import FollowUp
    from qcore.model import Delivery, Outgoing, StoredResult

_log = logging.getLogger("qcore.flow")

#: Seconds for which it is known who completed a gathering: longer than anybody may take to
#: write down that he did.
_COMPLETED: Final = 86400.0
#: Seconds the record of a success that is not to be stored is kept, where its message is
#: presented once more for the sake of what follows.
_UNSTORED: Final = 3600.0


class Committer:
    """Writes down what came of tasks; every step may be repeated."""

    def __init__(self, broker: Broker, store: ResultStore, continuation: ContinuationBuilder) -> None:
        self._broker = broker
        self._store = store
        self._continuation = continuation
        backend = broker.capabilities.backend
        self._together = backend is not None and backend == store.backend

    def write(
        self,
        results: Sequence[StoredResult],
        follow_ups: Sequence[FollowUp],
        settlements: Sequence[Settlement],
        limit: int,
    ) -> Sequence[Delivery]:
        """Save, enqueue what follows, settle, and lease up to `limit` more.

        Raises:
            BackendUnavailable: some of it may be done; call it again with the same.

        """
        if not follow_ups:
            return self._commit_and_lease(results, settlements, limit, ())
        results = [*results, *(one for then in follow_ups for one in then.results)]
        messages = [one for then in follow_ups for one in then.messages]
        arrived = [then for then in follow_ups if then.arrival is not None]
        if arrived:
            # Whoever is told that all have come must find that their results are stored.
            self._save(results)
            results = ()
            called, failed = self._join_barrier(arrived)
            messages += called
            if failed:
                self._save(failed)
        bulk = self._broker.capabilities.bulk
        if len(messages) > bulk:
            self._save(results)
            results = ()
        while len(messages) > bulk:
            self._broker.enqueue(messages[:bulk])
            messages = messages[bulk:]
        deliveries = self._commit_and_lease(results, settlements, limit, messages)
        self._let_go(follow_ups)
        return deliveries

    def _commit_and_lease(
        self,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        messages: Sequence[Outgoing],
    ) -> Sequence[Delivery]:
        broker, store = self._broker, self._store
        if not self._together:
            if results:
                self._save(results)
            return broker.commit_and_lease(None, (), settlements, limit, messages)
        try:
            return broker.commit_and_lease(store, results, settlements, limit, messages)
        except BackendRejected:
            # One record the store will not take must not hold up its neighbours.
            self._save(results)
            return broker.commit_and_lease(None, (), settlements, limit, messages)

    def _save(self, results: Sequence[StoredResult]) -> None:
        save_each(self._store, results, self._continuation.results)

    def _join_barrier(self, follow_ups: Sequence[FollowUp]) -> tuple[list[Outgoing], list[StoredResult]]:
        """Note that members have ended; return the messages that waited for the last of them."""
        notes = self._store.notes
        if notes is None:
            why = f"the result store {type(self._store).__name__} cannot gather results"
            lost = [then.member for then in follow_ups if then.member is not None]
            _log.error("%s; %d tasks are waited for in vain", why, len(lost))
            return [], [self._continuation.failed(member.callback, why, 0) for member in lost]
        arrivals = [then.arrival for then in follow_ups if then.arrival is not None]
        counts = notes.join_barrier(arrivals, KEPT)
        called = []
        for then, count in zip(follow_ups, counts, strict=True):
            member = then.member
            if member is None or count < member.count:
                continue
            # A member that comes again is told the full number as well: only who was the
            # first to hear it, and whoever finishes in his place, enqueues.
            holder = derived(member.flow, "member", member.index)
            if notes.acquire(_place(member.flow), holder, 1, _COMPLETED) is None:
                called.append(self._continuation.callback(member))
        return called, []

    def _let_go(self, follow_ups: Sequence[FollowUp]) -> None:
        """Forget gatherings whose callback has ended, and give places up; what a death leaves expires."""
        gone = [then.gathered for then in follow_ups if then.gathered is not None]
        places = [place for then in follow_ups for place in then.places]
        places += [(_place(one.flow), one.by) for one in gone]
        notes = self._store.notes
        if not places or notes is None:
            return
        try:
            if gone:
                notes.delete_barriers([key_of(one.flow) for one in gone])
            notes.release(places)
        except BackendError as exc:
            _log.warning("%d places and gatherings are kept until they expire: %s", len(places), exc)


def again(settlement: Settlement) -> Settlement:
    """Return what presents a message once more whose end is stored, in the place of what ends it.

    What follows may have been enqueued already, in a call that was made and not answered, or by
    a worker that died before it could say so. The lease tells: if it has ended, nothing happens;
    else whoever takes the message next finds the end, and goes on from it.
    """
    return Settlement(
        settlement.receipt, Action.RETRY, failures=settlement.failures, crashes=settlement.crashes
    )


def expiring_success(record: StoredResult) -> StoredResult:
    """Return the record of a success that is not to be kept, to be kept until what follows is done."""
    return msgspec.structs.replace(record, expires=record.finished + _UNSTORED)


def _place(flow: bytes) -> str:
    return f"{key_of(flow)}:complete"

"""The order of writes: results, then follow-up messages, then settlements."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendError, BackendRejected
from qcore.flows.continuation import KEPT
from qcore.flows.emulation import Emulation
from qcore.flows.replays import Replays
from qcore.messages.saving import save_each
from qcore.messages.workflow import barrier_key, derived_id
from qcore.model import Action

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.flows.completion import Completion
    from qcore.flows.continuation import ContinuationBuilder
    from qcore.interfaces import Broker, ResultStore
    from qcore.messages.workflow import FollowUp
    from qcore.model import Delivery, Outgoing, Settlement, StoredResult

_log = logging.getLogger("qcore.flow")

#: Seconds a success that is not to be stored is kept nevertheless, where the message is
#: redelivered because of its follow-up messages.
_UNSTORED: Final = 3600.0


class Committer:
    """Writes what came of tasks; every step may be repeated."""

    def __init__(self, broker: Broker, store: ResultStore, continuation: ContinuationBuilder) -> None:
        self._broker = broker
        self._store = store
        self._continuation = continuation
        self._coordination = continuation.coordination
        self._emulation = Emulation.where_needed(broker)
        self._replays = Replays.where_needed(broker, continuation.coordination, continuation.replay_window)
        backend = broker.capabilities.transaction_domain
        self._together = backend is not None and backend == store.transaction_domain

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids, of messages just leased, under which a message was acknowledged.

        Raises:
            BackendUnavailable: the store that remembers does not answer.

        """
        return self._broker.ended(ids) if self._replays is None else self._replays.ended(ids)

    def commit(
        self, completions: Sequence[Completion], limit: int, acks: Sequence[Settlement] = ()
    ) -> Sequence[Delivery]:
        """Save, enqueue follow-up messages, settle, and lease up to `limit` more.

        Args:
            completions: what is to be written.
            limit: most messages to be leased.
            acks: settlements of messages that need nothing else.

        Raises:
            BackendUnavailable: a part of it may be done; call it again with the same.
            BackendRejected: a part of it may be done, and some of it the backend never takes;
                `commit_each` finds out which.

        """
        results = [one.result for one in completions if one.result is not None]
        settlements = [one.settlement for one in completions if one.settlement is not None]
        settlements += acks
        follow_ups = [one.follow_up for one in completions if one.follow_up is not None]
        if self._emulation is not None:
            settlements = self._emulation.settlements(settlements)
        if not follow_ups:
            deliveries = self._commit_and_lease(results, settlements, limit, ())
            self._remember(settlements)
            return deliveries
        results += [result for one in follow_ups for result in one.results]
        messages = [message for one in follow_ups for message in one.messages]
        joining = [one for one in follow_ups if one.arrival is not None]
        if joining:
            # Whoever learns that all members have ended must find their results stored.
            self._save(results)
            results = []
            messages += self._join_barriers(joining)
        bulk = self._broker.capabilities.max_batch
        if len(messages) > bulk:
            self._save(results)
            results = []
        while len(messages) > bulk:
            self._broker.enqueue(messages[:bulk])
            messages = messages[bulk:]
        deliveries = self._commit_and_lease(results, settlements, limit, messages)
        self._remember(settlements)
        self._release_locks(completions)
        return deliveries

    def commit_each(self, completions: Sequence[Completion]) -> list[Completion]:
        """Commit one message at a time after a rejection; return those that the backend refuses.

        A refused message comes back when its lease ends; its neighbours do not.

        Raises:
            BackendUnavailable: a part of it may be done; call it again with the same.

        """
        refused = []
        for one in completions:
            try:
                self.commit([one], 0)
            except BackendRejected as exc:
                refused.append(one)
                _log.error("a message comes back when its lease ends, its end is refused: %s", exc)
        return refused

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
            # One record that the store refuses must not hold up its neighbours.
            self._save(results)
            return broker.commit_and_lease(None, (), settlements, limit, messages)

    def _remember(self, settlements: Sequence[Settlement]) -> None:
        if self._replays is not None:
            self._replays.remember(settlements)

    def _save(self, results: Sequence[StoredResult]) -> None:
        save_each(self._store, results, self._continuation.results)

    def _join_barriers(self, follow_ups: Sequence[FollowUp]) -> list[Outgoing]:
        """Record that group members have ended; return the callbacks of groups that are complete."""
        arrivals = [one.arrival for one in follow_ups if one.arrival is not None]
        callbacks = []
        with self._coordination.connection() as store:
            counts = store.join_barrier(arrivals, KEPT)
            for one, count in zip(follow_ups, counts, strict=True):
                member = one.member
                if member is None or count < member.count:
                    continue
                # A member that joins again is given the full number as well. Only the first one to
                # complete the barrier, and whoever finishes in its place, enqueues the callback.
                holder = derived_id(member.flow, "member", member.index)
                if store.acquire(_completion_lock(member.flow), holder, 1, KEPT) is None:
                    callbacks.append(self._continuation.callback(member))
        return callbacks

    def _release_locks(self, completions: Sequence[Completion]) -> None:
        """Delete the barriers of ended callbacks and release permits; after a crash they expire.

        A callback that is a dead letter needs its barrier when it is requeued.
        """
        ended = []
        permits = []
        for one in completions:
            if one.follow_up is not None:
                permits += one.follow_up.permits
                dead = one.settlement is not None and one.settlement.action is Action.DEAD_LETTER
                if one.follow_up.gathered is not None and not dead:
                    ended.append(one.follow_up.gathered)
        permits += [(_completion_lock(one.flow), one.by) for one in ended]
        if not permits:
            return
        try:
            with self._coordination.connection() as store:
                if ended:
                    store.delete_barriers([barrier_key(one.flow) for one in ended])
                store.release(permits)
        except BackendError as exc:
            _log.warning("permits and barriers stay until they expire (%d): %s", len(permits), exc)


def expiring_success(record: StoredResult) -> StoredResult:
    """Return the record of a success that is stored only until its follow-up messages are enqueued."""
    return msgspec.structs.replace(record, expires=record.finished + _UNSTORED)


def _completion_lock(flow: bytes) -> str:
    return f"{barrier_key(flow)}:complete"

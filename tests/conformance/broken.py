"""Brokers and stores that are each wrong in one way."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from qcore.errors import BackendRejected, PayloadTooLarge
from qcore.model import ID_AT, Action, Outgoing, Settlement
from qcore_json import JsonSerializer
from qcore_sqlite import SqliteBroker, counts
from qcore_testing.memory import MemoryBroker, MemoryResults, MemorySchedules

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Per, ResultStore
    from qcore.model import DeadLetter, Delivery, QueueSize, StoredResult, StoredSchedule

changed = msgspec.structs.replace


class TimeInMilliseconds(MemoryBroker):
    """Takes the unit of its server for ours."""

    def server_time(self) -> float:
        """Do not divide."""
        return time.time() * 1000


class TimeIsRemembered(MemoryBroker):
    """Asks its server once."""

    def server_time(self) -> float:
        """Return the time of the import."""
        return 1_790_000_000.0


class AckKeeps(MemoryBroker):
    """Forgets to remove what is done."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Leave out ACK."""
        super().settle([one for one in settlements if one.action is not Action.ACK])


class RetryLoses(MemoryBroker):
    """Removes what should be tried again."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Take RETRY for ACK."""
        super().settle(
            [changed(one, action=Action.ACK) if one.action is Action.RETRY else one for one in settlements]
        )


class RetryForgetsCounters(MemoryBroker):
    """Begins to count anew with each retry."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop the counters."""
        super().settle([changed(one, failures=0, crashes=0) for one in settlements])


class RetryIgnoresDelay(MemoryBroker):
    """Presents at once what should wait."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop the delay."""
        super().settle([changed(one, delay=0.0) for one in settlements])


class ReleaseCounts(MemoryBroker):
    """Charges a lease that was given back."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Take RELEASE for RETRY."""
        super().settle(
            [
                changed(one, action=Action.RETRY) if one.action is Action.RELEASE else one
                for one in settlements
            ]
        )


class DeadLetterDropsReason(MemoryBroker):
    """Does not say why."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop the reason."""
        super().settle([changed(one, reason="") for one in settlements])


class UnknownReceiptRaises(MemoryBroker):
    """Complains of what should be ignored."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Look the receipts up."""
        for one in settlements:
            if one.receipt not in self._queue._leased:
                raise BackendRejected("no such lease")
        super().settle(settlements)


class FirstUnknownStops(MemoryBroker):
    """Gives up at the first receipt that has ended."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle what comes before it."""
        for one in settlements:
            if one.receipt not in self._queue._leased:
                return
            super().settle([one])


class StaleReceiptCounts(MemoryBroker):
    """Knows a message by its body, whoever holds it."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hide the name of the lease."""
        return [changed(one, receipt=one.receipt + one.body) for one in super().lease(limit, wait)]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Find the present lease."""
        current = {message.body: receipt for receipt, message in self._queue._leased.items()}
        super().settle([changed(one, receipt=current.get(one.receipt[8:], b"")) for one in settlements])


class OneReceiptForAll(MemoryBroker):
    """Gives every lease of a message the same receipt."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Take the body for the receipt."""
        return [changed(one, receipt=one.body) for one in super().lease(limit, wait)]


class LeaseIsShared(MemoryBroker):
    """Hands one message to everybody."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Give back what was just leased."""
        taken = self._queue.take(limit, wait, 0.0)
        return list(taken)


class LeaseLastsForEver(MemoryBroker):
    """Never takes a lease back."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease for a day."""
        return self._queue.take(limit, wait, 86400.0)


class LeaseEndsEarly(MemoryBroker):
    """Takes a lease back before its time."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease for half the time."""
        return self._queue.take(limit, wait, self._retry / 2)


class DeliveriesAreNotCounted(MemoryBroker):
    """Calls every lease the first."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Say 1."""
        return [changed(one, deliveries=1) for one in super().lease(limit, wait)]


class LimitIsIgnored(MemoryBroker):
    """Hands out more than was asked for."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Ask for all."""
        return super().lease(1000, wait)


class EmptyIsNotWaitedFor(MemoryBroker):
    """Says at once that there is nothing."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Do not wait."""
        return super().lease(limit, 0.0)


class BatchIsWaitedFor(MemoryBroker):
    """Waits until there is as much as was asked for."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Take one after the other."""
        deadline = time.monotonic() + wait
        taken: list[Delivery] = []
        while len(taken) < limit and (left := deadline - time.monotonic()) > 0:
            taken += super().lease(1, left)
        return taken


class BlockingPolls(MemoryBroker):
    """Claims to wait in the backend and looks once a minute."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Look at the beginning and at the end."""
        found = super().lease(limit, 0.0)
        if not found and wait:
            threading.Event().wait(min(wait, 4.0))
            found = super().lease(limit, 0.0)
        return found


class SignalIsEaten(MemoryBroker):
    """Goes on waiting whatever happens."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Catch what a signal raises."""
        try:
            return super().lease(limit, wait)
        except Exception:
            return []


class EnqueueDropsTheLast(MemoryBroker):
    """Counts from one."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Leave one out."""
        super().enqueue(messages[:-1] or messages)


class EnqueueStopsAtBulk(MemoryBroker):
    """Takes no more than fits one request."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Leave the rest out."""
        super().enqueue(messages[: self.capabilities.max_batch])


class EnqueueNeedsOne(MemoryBroker):
    """Looks at the first message, of none too."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Fail without one."""
        super().enqueue([messages[0], *messages[1:]])


class SettleNeedsOne(MemoryBroker):
    """Takes no settlement at all for all leases."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Fail without one."""
        super().settle([settlements[0], *settlements[1:]])


class ReceiptsAreItsOwn(MemoryBroker):
    """Knows only the leases it took itself."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Remember the receipts."""
        leased = super().lease(limit, wait)
        self.__dict__.setdefault("own", set()).update(one.receipt for one in leased)
        return leased

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Leave the others out."""
        super().settle([one for one in settlements if one.receipt in self.__dict__.get("own", ())])


class EnqueueTurnsRound(MemoryBroker):
    """Keeps no order though it could."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Put the last in front."""
        super().enqueue(messages[::-1])


class EnqueueIgnoresDelay(MemoryBroker):
    """Presents at once what should wait."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Drop the delay."""
        super().enqueue([changed(one, delay=0.0) for one in messages])


class EnqueueIsText(MemoryBroker):
    """Takes bytes for text."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Lose what is not text."""
        super().enqueue([changed(one, body=one.body.decode(errors="replace").encode()) for one in messages])


class IdsAreNotUnique(MemoryBroker):
    """Claims to look at ids and does not."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Forget the ids."""
        for one in messages:
            self._queue._ids.clear()
            super().enqueue([one])


class DelayIsDeniedAndTaken(MemoryBroker):
    """Denies that it can wait, and drops the delay in silence."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, delay=False)


class MaxBytesIsALie(MemoryBroker):
    """Names a limit and does not keep it."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, max_bytes=4096)


class ExtendDoesNothing(MemoryBroker):
    """Claims to extend leases."""

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Do nothing."""


class ExtendIsForEver(MemoryBroker):
    """Extends leases beyond what was asked."""

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Add a day."""
        super().extend(receipts, seconds + 86400.0)


class PurgeTakesTheDead(MemoryBroker):
    """Throws dead letters away as well."""

    def purge(self) -> int:
        """Begin with the dead."""
        return self.delete([letter.id for letter in self.dead_letters()]) + super().purge()


class PurgeLeavesTheDelayed(MemoryBroker):
    """Claims that it has a way to what is delayed."""

    def purge(self) -> int:
        """Put the delayed in again."""
        now = time.monotonic()
        delayed = [(message, message.due - now) for message in self._queue._waiting if message.due > now]
        count = super().purge()
        self.enqueue([Outgoing(message.id, message.body, left) for message, left in delayed])
        return count - len(delayed)


class SizeCountsTheLeased(MemoryBroker):
    """Takes leased for ready."""

    def size(self) -> QueueSize:
        """Add both."""
        size = super().size()
        return changed(size, ready=size.ready + (size.leased or 0))


class DeadAreNewestFirst(MemoryBroker):
    """Lists the dead the wrong way round."""

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Turn the list round."""
        return super().dead_letters(limit, after)[::-1]


class RequeueKeepsCounters(MemoryBroker):
    """Gives a dead letter no new chance."""

    def requeue(self, ids: Sequence[str]) -> int:
        """Put the counters back."""
        old = [entry[0] for name, entry in self._queue._dead_letters.items() if name in ids]
        count = super().requeue(ids)
        for message in self._queue._waiting:
            for before in old:
                if before.id == message.id:
                    message.deliveries, message.failures = before.deliveries, before.failures
        return count


class CommitAcksFirst(MemoryBroker):
    """Removes a message before its result is kept."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Settle, then save."""
        self.settle(settlements)
        return super().commit_and_lease(store, results, (), limit, then)


class CommitForgetsFollowUps(MemoryBroker):
    """Ends a chain after its first step."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Do the rest."""
        del then
        return super().commit_and_lease(store, results, settlements, limit)


class CommitEnqueuesTooEarly(MemoryBroker):
    """Enqueues what follows from results that may never be kept."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Enqueue, then save."""
        self.enqueue(then)
        return super().commit_and_lease(store, results, settlements, limit)


class CommitSettlesTooEarly(MemoryBroker):
    """Removes a message though what follows from it is refused."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, max_bytes=4096)

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Refuse what is too large."""
        if any(len(one.body) > 4096 for one in messages):
            raise PayloadTooLarge
        super().enqueue(messages)

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Settle, then enqueue."""
        super().commit_and_lease(store, results, settlements, 0)
        return super().commit_and_lease(None, (), (), limit, then)


class CommitIgnoresDelay(MemoryBroker):
    """Presents at once what should follow later."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Drop the delay."""
        now = [changed(one, delay=0.0) for one in then]
        return super().commit_and_lease(store, results, settlements, limit, now)


class RemoveTakesNothing(MemoryBroker):
    """Claims to remove messages."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Do nothing."""
        return ()


class RemoveLeavesThem(MemoryBroker):
    """Returns what it does not remove."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Enqueue them again."""
        taken = super().remove_messages(ids)
        self.enqueue([Outgoing(body[ID_AT], body) for body in taken])
        return taken


class FindSeesTheReadyOnly(MemoryBroker):
    """Does not find what is leased, delayed or dead-lettered."""

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Look at what is due."""
        now = time.monotonic()
        due = [message.id for message in self._queue._waiting if message.due <= now]
        return [id for id in ids if id in due]


class FindRemembersAll(MemoryBroker):
    """Finds what was there once."""

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return all that is asked for."""
        return ids


class RemoveLooksAtTheReady(MemoryBroker):
    """Does not find what waits for its time."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Look at what is due."""
        now = time.monotonic()
        due = [message.id for message in self._queue._waiting if message.due <= now]
        return super().remove_messages([id for id in ids if id in due])


class RemoveTakesTheLeased(MemoryBroker):
    """Takes from under a worker what it is busy with."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Release them first."""
        held = [receipt for receipt, message in self._queue._leased.items() if message.id in ids]
        self.settle([Settlement(receipt, Action.RELEASE) for receipt in held])
        return super().remove_messages(ids)


class RemoveTakesDeadLetters(MemoryBroker):
    """Takes dead letters as well."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Look among the dead."""
        dead = [letter for letter in self.dead_letters() if letter.body[ID_AT] in ids]
        self.delete([letter.id for letter in dead])
        return [*super().remove_messages(ids), *(letter.body for letter in dead)]


class RemoveKeepsTheIds(MemoryBroker):
    """Refuses an id for ever that was removed once."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Keep the ids."""
        taken = super().remove_messages(ids)
        self._queue._ids.update(ids)
        return taken


class RemoveReversesTheOrder(MemoryBroker):
    """Mixes up what is left."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Put the rest in again, the first one last."""
        taken = super().remove_messages(ids)
        first, *rest = [message.body for message in self._queue._waiting.waiting([""])]
        self.purge()
        self.enqueue([Outgoing(body[ID_AT], body) for body in [*rest, first]])
        return taken


class RemoveIsDenied(MemoryBroker):
    """Removes messages and does not say that it can."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, remove_messages=False)


class StatusHasNoEnd(MemoryBroker):
    """Shows the status of clusters long gone."""

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep it for a day."""
        super().publish_status(cluster, body, ttl + 86400.0)


class Buffers(SqliteBroker):
    """Accepts messages into its own memory."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._buffer: list[Outgoing] = []

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Keep them until there are many."""
        self._buffer += messages
        if len(self._buffer) >= 50:
            super().enqueue(self._buffer)
            self._buffer = []


class RetryIsTwoSteps(SqliteBroker):
    """Removes a message and puts it in again."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Remember the bodies."""
        taken = super().lease(limit, wait)
        self._bodies = {one.receipt: one.body for one in taken}
        return taken

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Leave time to die between the two."""
        again = [one for one in settlements if one.action is Action.RETRY]
        super().settle([changed(one, action=Action.ACK) if one in again else one for one in settlements])
        threading.Event().wait(0.05)
        bodies = [self._bodies[one.receipt] for one in again if one.receipt in self._bodies]
        self.enqueue([Outgoing(body.rjust(16), body) for body in bodies])


class RemoveIsTwoSteps(SqliteBroker):
    """Takes what it saw a moment ago, leased or not."""

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Leave time for another between the two."""

        def take(connection: sqlite3.Connection) -> list[bytes]:
            rows = [(one.row,) for one in counts.find(connection, ids)]
            found = [
                connection.execute("select body from queue where seq = ?", row).fetchone() for row in rows
            ]
            return [one[0] for one in found if one is not None]

        bodies = self._database.read(take)
        threading.Event().wait(0.01)
        super().remove_messages(ids)
        return bodies


class SettlesBeforeItGoesOn(SqliteBroker):
    """Ends a lease before what follows from it is there."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Leave time to die between the two."""
        super().commit_and_lease(store, results, settlements, 0)
        threading.Event().wait(0.02)
        return super().commit_and_lease(None, (), (), limit, then)


class GoesOnBeforeItSaves(SqliteBroker):
    """Enqueues what follows from a result before that is kept."""

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Leave time to die between the two."""
        self.enqueue(then)
        threading.Event().wait(0.1)
        return super().commit_and_lease(store, results, settlements, limit)


class LastResultWins(MemoryResults):
    """Replaces a success."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Forget what was there."""
        self.delete([one.id for one in results])
        super().save(results)


class ExpiredIsReturned(MemoryResults):
    """Knows no end."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Drop the end."""
        super().save([changed(one, expires=0.0) for one in results])


class WaitTakesAnything(MemoryResults):
    """Takes a retry for the end."""

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Do not wait."""
        del seconds
        return self.get([id])[0]


class PruneTakesFailures(MemoryResults):
    """Throws failures away."""

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Prune everything."""
        del per
        rows = self.recent(limit=1000)[max(0, keep) :] if keep >= 0 else []
        return super().prune(-1) + self.delete([row.id for row in rows if row.state.final])


class PruneTakesAllForNone(MemoryResults):
    """Takes a negative number for zero."""

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Keep at least nothing."""
        return super().prune(max(0, keep), per)


class PruneKnowsNoKinds(MemoryResults):
    """Counts all successes together."""

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Leave out what to count by."""
        del per
        return super().prune(keep)


class PruneKeepsWhatHasNoKind(MemoryResults):
    """Limits groups, and lets what is in none grow."""

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Put the rest back."""
        rows = [row for row in self.recent(limit=1000) if per and getattr(row, per) is None]
        count = super().prune(keep, per)
        self.save(rows)
        return count


class UngroupDeletes(MemoryResults):
    """Throws the members away with the group."""

    def ungroup(self, group: str) -> int:
        """Delete them."""
        return self.delete([row.id for row in self.group(group)])


class UngroupLies(MemoryResults):
    """Says that it did something."""

    def ungroup(self, group: str) -> int:
        """Count."""
        return len(self.group(group))


class LabelIsDropped(MemoryResults):
    """Keeps a result without its label."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Drop the label."""
        super().save([changed(one, label=None) for one in results])


class ClaimIsShared(MemorySchedules):
    """Lets everybody fire one slot."""

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Hold nothing."""
        return super().claim_due(now, limit, hold * 0)


class BytesAreCut(MemorySchedules):
    """Keeps the beginning of a schedule's bytes."""

    def add(self, schedule: StoredSchedule) -> bool:
        """Drop the end."""
        return super().add(changed(schedule, body=schedule.body[:4096]))


class AddReplaces(MemorySchedules):
    """Forgets how far a schedule has come."""

    def add(self, schedule: StoredSchedule) -> bool:
        """Look for none."""
        self.remove(schedule.name)
        return super().add(schedule)


class HintsAreCompared(MemorySchedules):
    """Compares what a schedule is found by."""

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Look at all of it."""
        return self.get(before.name) == before and super().advance(before, after)


class ReadsBodies(MemoryBroker):
    """Takes every body for an envelope."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Read the version that follows the mark."""
        found = super().lease(limit, wait)
        assert all(one.body[2] >= 0 for one in found if one.body.startswith(b"Qc"))
        return found


class ReasonIsEncoded(MemoryBroker):
    """Writes reasons as UTF-8, which has no lone surrogates."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Encode."""
        for one in settlements:
            one.reason.encode()
        super().settle(settlements)


class NameIsAPrefix(MemorySchedules):
    """Finds what begins like the name."""

    def get(self, name: str) -> StoredSchedule | None:
        """Return the first of them."""
        return next((one for one in self.all() if name.startswith(one.name)), None)


class AdvanceIsBlind(MemorySchedules):
    """Replaces whatever is there."""

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Do not look at the slot."""
        self.remove(before.name)
        if after is not None:
            self.add(after)
        return True


class FireIsTwoSteps(MemorySchedules):
    """Enqueues before it knows whether the slot is still there."""

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue, then look."""
        # others' ids: this queue drops those it holds already
        broker.enqueue([changed(one, id=os.urandom(16)) for one in messages])
        return self.advance(before, after)


class RaisesItsOwn(JsonSerializer):
    """Lets the errors of its library out."""

    def loads(self, data: bytes) -> Any:
        """Do not translate."""
        return self._decode(data)


class TellsNoPath(JsonSerializer):
    """Does not say where."""

    def dumps(self, value: Any) -> bytes:
        """Write and forget the path."""
        return self._encode(value)


class LosesFloats(JsonSerializer):
    """Reads whole numbers only."""

    def loads(self, data: bytes) -> Any:
        """Round."""
        value = super().loads(data)
        return round(value) if isinstance(value, float) else value

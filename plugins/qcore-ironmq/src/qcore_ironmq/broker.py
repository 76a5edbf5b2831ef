"""Decides how a queue lives in IronMQ."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qcore.errors import BackendError, BackendRejected, PayloadTooLarge
from qcore.interfaces import Capabilities
from qcore.model import Action, Delivery, QueueSize
from qcore_ironmq import codec
from qcore_ironmq.answers import ReadMessage, read, readable
from qcore_ironmq.client import Client, NotFound
from qcore_ironmq.dead_letters import DeadLetters, dead_letters_of
from qcore_ironmq.looking import Shows
from qcore_ironmq.receipt import Reservation, by_owner
from qcore_ironmq.reservations import Tickets
from qcore_ironmq.retention import Lasting
from qcore_ironmq.settings import ServerAddress
from qcore_plugin_support import COUNTERS_SIZE, CountedMessage, call_limit, parse_http_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Outgoing, Settlement

_log = logging.getLogger("qcore_ironmq.broker")

#: messages in one request at most
BULK: Final = 100
#: largest body: the service takes 256 KiB of text, and base64 makes four characters of three bytes
MAX_BYTES: Final = 256 * 1024 * 3 // 4 - COUNTERS_SIZE
#: seconds of one wait in the service
LONGEST_WAIT: Final = 30
#: seconds a reservation lasts at most
_LONGEST_LEASE: Final = 86_400


@call_limit.each_call(lambda broker: broker.timeout)
class IronBroker(Shows):
    """A queue of an IronMQ project, spoken to by its HTTP interface of version 3."""

    #: seconds a reservation lasts at least, by the rules of the service
    least_lease: ClassVar[int] = 30

    def __init__(self, settings: Settings, link: Client | None = None) -> None:
        self._address = ServerAddress.of(settings.section("iron_mq"))
        self._link = link or Client(self._address)
        #: seconds for the requests of a call
        self.timeout = self._address.timeout
        self._queue = settings.name
        self._lease = math.ceil(settings.retry)
        if not self.least_lease <= self._lease <= _LONGEST_LEASE:
            raise BackendRejected(
                f"retry is {settings.retry:g}; IronMQ reserves a message for {self.least_lease} to"
                f" {_LONGEST_LEASE} seconds"
            )
        self._owner = settings.owner.hex() or "-"
        self._tickets = Tickets(f"{self._link.title}/{self._queue}")
        self._lasting = Lasting(self._link)
        self._dead_letters = DeadLetters(self._link, dead_letters_of(self._queue))
        self._poll = settings.poll
        # processes of a cluster have an owner; its workers create the queue when they first use it
        if not (settings.create or settings.owner):
            self._link.require(self._queue)
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=True,
            atomic_settle=False,
            purges_delayed=False,
            keeps_place=False,
            max_batch=BULK,
            max_bytes=MAX_BYTES,
            declared_by="iron_mq.queues and iron_mq.priorities",
        )

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Post messages, a hundred in a request; if one request fails, what came before it is deleted."""
        for one in messages:
            if len(one.body) > MAX_BYTES:
                raise PayloadTooLarge(
                    f"the message has {len(one.body)} bytes, IronMQ takes {MAX_BYTES};"
                    " pass a reference to the data instead"
                )
        items = [(CountedMessage(one.body), one.delay) for one in messages]
        self._post(items, ids=[one.id for one in messages])

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Reserve messages; an idle wait is a wait of the service's, as far as it counts in seconds."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        while True:
            left = deadline - time.monotonic()
            found = self.take(limit, max(0, min(LONGEST_WAIT, int(left))))
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            if left < 1:
                time.sleep(min(left, self._poll))
            call_limit.again()

    def take(self, limit: int, seconds: int) -> Sequence[Delivery]:
        """Reserve messages by one request, which waits up to so many seconds in the service."""
        return self._reserve(min(limit, BULK), seconds)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End reservations: what goes on is posted anew first, so that nothing is lost in between."""
        for owner, found in by_owner(settlements).items():
            with self._tickets.of(owner) as newest:
                pairs = [(one, reservation.newest(newest)) for one, reservation in found]
                again = [(one, held) for one, held in pairs if one.action is not Action.ACK]
                done = [held for one, held in pairs if one.action is Action.ACK]
                for one, held in again:
                    if self._move(one, held, newest):
                        done.append(held)
                self._delete(done)
                for held in done:
                    newest.pop(held.message, None)
                    newest.pop(held.posted, None)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Touch reservations; the one each gets instead is noted for whoever settles it."""
        timeout = max(self.least_lease, min(_LONGEST_LEASE, math.ceil(seconds)))
        known = [found for receipt in receipts if (found := Reservation.read(receipt))]
        for owner in {one.owner for one in known}:
            with self._tickets.of(owner) as newest:
                for one in known:
                    if one.owner == owner:
                        self._touch(one.newest(newest), timeout, newest)

    def size(self) -> QueueSize:
        """Count ready messages and dead letters; IronMQ does not distinguish the rest."""
        return QueueSize(ready=self._ready(), dead_letters=self._dead_letters.count())

    def purge(self) -> int:
        """Remove what is ready; IronMQ has no way to what is delayed but by removing what is reserved too."""
        count = 0
        while found := self._reserve(BULK, 0):
            held = [Reservation.read(one.receipt) for one in found]
            self._delete([one for one in held if one is not None])
            count += len(found)
        return count

    # -- dead letters -------------------------------------------------------------------------

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters in the order they died; all of them are read for it."""
        return self._dead_letters.listed(limit, after)

    def requeue(self, ids: Sequence[str]) -> int:
        """Post dead letters anew, then delete them."""
        found = self._dead_letters.find(ids)
        self._post([(CountedMessage(item.body), 0.0) for item in found.values()])
        return self._dead_letters.delete(list(found))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return self._dead_letters.delete(list(self._dead_letters.find(ids)))

    def ping(self) -> None:
        """Ask about the queue."""
        self._ready()

    def server_time(self) -> float | None:
        """Return the time at which IronMQ answers, in the middle of the second that it gives."""
        self._ready()
        return parse_http_date(self._link.date)

    def queue_id(self) -> str:
        """Name project and queue, however the address is written; nobody is asked."""
        return f"ironmq:{self._address.project}#{self._queue}"

    def info(self) -> str:
        """Say where it is."""
        return f"IronMQ at {self._link.title}"[:200]

    def close(self) -> None:
        """Let go of the connection."""
        self._tickets.forget(self._owner)
        self._link.close()

    # -- requests -----------------------------------------------------------------------------

    def _post(
        self, items: Sequence[tuple[CountedMessage, float]], queue: str = "", ids: Sequence[bytes] = ()
    ) -> None:
        """Post messages; an error has those of `ids` that were posted and could not be deleted again."""
        messages = [codec.outgoing(item, delay) for item, delay in items]
        where = queue or self._queue
        if messages:
            self._lasting.ensure(where)
        posted: list[str] = []
        try:
            for start in range(0, len(messages), BULK):
                body = {"messages": messages[start : start + BULK]}
                names = self._link.call(
                    "POST", where, "/messages", body, promised="ids", unknown_outcome=True
                )
                posted += map(str, names)
                self._check(names, body["messages"])
        except BaseException as exc:
            # all are accepted, or none
            left = range(0, len(posted), BULK)
            call_limit.again()
            try:
                while left:
                    again = [{"id": one} for one in posted[left[0] : left[0] + BULK]]
                    self._link.call("DELETE", where, "/messages", {"ids": again})
                    left = left[1:]
            except BackendError as also:
                exc.add_note(f"what was posted before may still run, because it cannot be deleted: {also}")
                if isinstance(exc, BackendError):
                    exc.accepted = ids[left[0] : len(posted)]
            raise

    def _check(self, ids: Sequence[object], messages: Sequence[object]) -> None:
        if len(ids) != len(messages):
            raise self._link.stranger(f"{len(messages)} were sent, and its answer names {len(ids)}")

    def _reserve(self, limit: int, wait: int) -> list[Delivery]:
        # IronMQ hands a message to a worker that froze while it waited, too: until its receiver confirms
        # it, it is reserved for the shortest time. Who waits for more than one would confirm each by itself.
        confirms = wait > 0 and limit == 1 and self._lease > self.least_lease
        seconds = self.least_lease if confirms else self._lease
        asked = {"n": limit, "timeout": seconds, "wait": wait, "delete": False}
        how: dict[str, Any] = {"promised": "messages", "wait": wait}
        try:
            found = self._link.call("POST", self._queue, "/reservations", asked, **how)
        except NotFound:
            # nobody has posted anything yet: a queue has to be there to be waited at
            self._lasting.make(self._queue)
            found = self._link.call("POST", self._queue, "/reservations", asked, **how)
        good, strange = readable(found, reserved=True)
        if strange:
            what = "messages that cannot be read are ignored: %d, in queue %s; the first is %.200r"
            _log.error(what, len(strange), self._queue, strange[0])
        if confirms:
            good = [one for one in map(self._confirmed, good) if one.reservation]
        return [self._delivery(one) for one in good]

    def _confirmed(self, one: ReadMessage) -> ReadMessage:
        """Reserve a message for the whole lease; it has no reservation if that has ended."""
        held = Reservation(one.id, one.reservation, self._owner)
        return one._replace(reservation=self._touch(held, self._lease, {}))

    def _delivery(self, read_message: ReadMessage) -> Delivery:
        item, held = read_message.item, Reservation(read_message.id, read_message.reservation, self._owner)
        return Delivery(item.body, held.write(), read_message.deliveries, item.failures, item.crashes)

    def _touch(self, held: Reservation, timeout: int, newest: dict[str, str]) -> str:
        """Extend a reservation; return the one that takes its place, nothing if it has ended."""
        body = {"reservation_id": held.id, "timeout": timeout}
        try:
            path = f"/messages/{held.message}/touch"
            read_message = self._link.call("POST", self._queue, path, body, promised="reservation_id")
        except NotFound:
            return ""
        newest[held.message] = str(read_message)
        return newest[held.message]

    def _move(self, one: Settlement, held: Reservation, newest: dict[str, str]) -> bool:
        """Post anew what takes the place of a message; return False if it is another's by now."""
        if held.posted in newest:
            # by a call that failed later: only the deletion is left to be done
            return True
        path = f"/messages/{held.message}"
        try:
            read_message = read(self._link.call("GET", self._queue, path, promised="message"))
        except NotFound:
            return False
        if read_message is None:
            raise self._link.stranger(f"its message {held.message} has no id")
        # only when it is touched the service says whether the reservation still holds
        touched = self._touch(held, self._lease, newest)
        if not touched:
            return False
        held.id = touched
        item, before = read_message.item, read_message.deliveries
        if one.action is Action.RELEASE:
            self._post([(item._replace(deliveries=before - 1), one.delay)])
        elif one.action is Action.RETRY:
            counted = item._replace(failures=one.failures, crashes=one.crashes, deliveries=before)
            self._post([(counted, one.delay)])
        else:
            counted = item._replace(failures=one.failures, crashes=one.crashes, deliveries=before)
            letter = counted._replace(written_at=time.time(), reason=one.reason)
            self._post([(letter, 0.0)], self._dead_letters.queue)
        newest[held.posted] = held.id
        return True

    def _delete(self, held: Sequence[Reservation]) -> None:
        for start in range(0, len(held), BULK):
            batch = held[start : start + BULK]
            ids = [{"id": one.message, "reservation_id": one.id} for one in batch]
            try:
                self._link.call("DELETE", self._queue, "/messages", {"ids": ids})
            except NotFound:
                for one in batch:
                    self._delete_one(one)

    def _delete_one(self, held: Reservation) -> None:
        try:
            self._link.call("DELETE", self._queue, f"/messages/{held.message}", {"reservation_id": held.id})
        except NotFound:
            return

    def _ready(self) -> int:
        return self._link.size(self._queue)

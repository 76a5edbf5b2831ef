"""Decides how a queue lives in Redis."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError
from qcore.interfaces import Capabilities
from qcore_redis import accepting, codec, leased, records, routes
from qcore_redis.client import SHORTEST, Client
from qcore_redis.ended import Ended
from qcore_redis.error_mapping import ClusterChanging, WrongType
from qcore_redis.results import RedisResults
from qcore_redis.scripts import script
from qcore_redis.settlements import words as settlement_words
from qcore_redis.upkeep import BULK, Upkeep

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.interfaces import ResultStore, Settings
    from qcore.model import Delivery, Outgoing, Settlement, StoredResult

_log = logging.getLogger("qcore_redis.broker")

#: seconds between looks for what is due or ended, while there is other work
SWEEP: Final = 0.1
#: seconds of one wait in the server; bounds how late the end of another's lease is noticed
LONGEST: Final = 5.0
#: what the script of one queue returns where there are other ones
_OTHERS: Final = -1
#: seconds from then on in which it is not asked again
_SEVERAL: Final = 1.0


class RedisBroker(Upkeep):
    """A queue in Redis or Valkey, for any number of machines."""

    def __init__(self, settings: Settings) -> None:
        # the braces keep all keys of a queue on one node
        self._queue = b"{qcore:%s}:q" % settings.name.encode()
        self._link = Client(settings.section("redis"), self._queue)
        self._lasts = max(1, round(settings.retry * 1000))
        self._longest = min(LONGEST, max(1.0, settings.retry / 4))
        self._owner = settings.owner
        #: None = all queues
        self._order = settings.queues
        #: monotonic seconds; until then it is known that there are several queues, or priorities
        self._several_until = 0.0
        #: where the script told to wait: not at the default queue
        self._apart = False
        self._process = os.urandom(8)
        self._number = 0
        self._sweep_at = 0.0
        #: tokens of leases whose reply was lost: what they hold is unknown
        self._unknown_outcome: list[bytes] = []
        #: token of a lease that was waited with in vain
        self._waited = b""
        #: None = nothing is remembered
        self._ended = Ended.where_wanted(settings)
        backend = f"redis:{self._link.address.title}#{settings.name}"
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=True,
            max_batch=BULK,
            cluster_status=True,
            remove_messages=True,
            remembers_ended=True,
            queues=True,
            transaction_domain=backend,
        )
        # all that a script defines costs, at each run
        self._commit_script = script("leases", "results", "ended", "exchange")
        self._commit_then = script("put", "leases", "results", "ended", "exchange")
        self._commit_several = script("leases", "results", "ended", "streams", "exchange")
        self._commit_several_then = script("put", "leases", "results", "ended", "streams", "exchange")

    def after_fork(self, owner: bytes) -> bool:
        """Lease for another owner."""
        self._owner, self._process = owner, os.urandom(8)
        self._unknown_outcome, self._waited = [], b""
        self._link.after_fork()
        return True

    # -- putting in -------------------------------------------------------------------------

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages in one round trip, whatever their number."""
        accepting.enqueue(self._link, self._queue, messages)

    # -- taking out -------------------------------------------------------------------------

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out messages; an idle wait is a wait of the server's."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        order = self._next_order()
        while True:
            left = max(0.0, deadline - time.monotonic())
            found = self._turn((), (), limit, min(left, self._link.longest(self._longest)), order=order)
            if isinstance(found, int):
                found = self._wait(found) if found > 0 and left > 0 else []
            if found:
                return found
            if time.monotonic() >= deadline:
                return ()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one step."""
        if settlements:
            self._turn((), settlements, 0, 0.0)

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Save, enqueue, settle and lease in one step, where the results are kept in the same place."""
        if results and store is not None:
            beside = (
                isinstance(store, RedisResults)
                and store.transaction_domain == self.capabilities.transaction_domain
            )
            if not beside or len(results) > BULK:
                store.save(results)
                results = ()
        else:
            results = ()
        if not (results or then or settlements or limit):
            return ()
        order = self._next_order() if limit else routes.ALL
        found = self._turn(results, settlements, limit, 0.0, then, order=order)
        while isinstance(found, list) and not found and limit:
            # only a nudge was there
            found = self._turn((), (), limit, 0.0, order=order)
        return () if isinstance(found, int) else found

    def _turn(
        self,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        wait: float,
        then: Sequence[Outgoing] = (),
        *,
        order: bytes = routes.ALL,
    ) -> list[Delivery] | int:
        """Run the one script; return what was taken or the milliseconds to wait."""
        self._give_up_unknown()
        now = time.monotonic()
        sweep = now >= self._sweep_at
        if sweep:
            self._sweep_at = now + SWEEP
        waited = self._waited
        token = self._token() if limit else b""
        saved, packed = records.words(results) if results else (0, [])
        count, leases = settlement_words(settlements) if settlements else (0, ())
        head = (min(limit, BULK), token, self._lasts, int(sweep), int(wait * 1000))
        ended = self._ended.words(settlements) if settlements and self._ended else ()
        asks = int(self._ended is not None)
        if token:
            self._unknown_outcome.append(token)
        several = limit > 0 and (self._order is not None or now < self._several_until)
        queues = (order,) if several else ()
        if then:
            run = self._commit_several_then if several else self._commit_then
            words = (
                *head,
                saved,
                len(then),
                count,
                asks,
                *queues,
                *packed,
                *codec.words(then),
                *leases,
                *ended,
            )
            reply = self._link.run(run, *words, unknown_outcome=codec.UNKNOWN_OUTCOME)
        else:
            run = self._commit_several if several else self._commit_script
            words = (*head, saved, 0, count, asks, *queues, *packed, *leases, *ended)
            reply = self._link.run(run, *words)
        if isinstance(reply, (int, bytes)):
            self._apart = isinstance(reply, bytes)
            milliseconds = int(reply)
            if token and milliseconds <= 0:
                self._unknown_outcome.pop()
                self._waited = waited
            if milliseconds == _OTHERS:
                self._several_until, self._sweep_at = now + _SEVERAL, 0.0
                return self._turn((), (), limit, wait, order=order)
            return milliseconds
        if self._ended is not None:
            self._ended.taken(reply)
        found = leased.deliveries(self._link, self._queue[:-1], token, reply)
        self._unknown_outcome.pop()
        return found

    def _wait(self, milliseconds: int) -> list[Delivery]:
        """Wait with the lease that the script has noted down."""
        token = self._unknown_outcome[-1]
        seconds = max(milliseconds / 1000, SHORTEST)
        words = (b"BLMOVE", self._queue, self._lease_key(token), b"LEFT", b"RIGHT", seconds)
        try:
            if self._apart:
                # what comes there is only a call
                self._link.block(b"BLPOP", self._queue + b"w", seconds, seconds=seconds)
                item = None
            else:
                item = self._link.block(*words, seconds=seconds)
        except ClusterChanging as exc:
            # all who wait at a node are sent away when the queue has left it
            _log.debug("nothing came: %s", exc)
            item = None
        except WrongType as exc:
            # it is set aside with the next lease
            _log.error("nothing can be taken: %s", exc)
            return []
        found: list[Delivery] = []
        if item is None:
            self._waited = token
        else:
            if self._ended is not None:
                # What has ended while it waited is not known.
                self._ended.high = None
            self._link.post(script("confirm"), token, self._lasts)
            found = leased.deliveries(self._link, self._queue[:-1], token, [item])
        self._unknown_outcome.pop()
        return found

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return the ids of messages that have ended; most batches need no call."""
        return () if self._ended is None else self._ended.find(self._link, self._queue[:-1], ids)

    def _next_order(self) -> bytes:
        return routes.ALL if self._order is None else routes.order(self._order.next())

    def _token(self) -> bytes:
        if self._waited:
            # nothing came for it: it serves again
            token, self._waited = self._waited, b""
            return token
        self._number += 1
        return codec.token(self._owner, self._process, self._number)

    def _lease_key(self, token: bytes) -> bytes:
        return self._queue[:-1] + b"l:" + token

    def _give_up_unknown(self) -> None:
        if self._unknown_outcome:
            self._link.run(script("abandon"), *self._unknown_outcome)
            self._unknown_outcome.clear()

    # -- leases -----------------------------------------------------------------------------

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last; messages that were leased together last together."""
        tokens = {receipt[:-2] for receipt in receipts if codec.is_receipt(receipt)}
        if tokens:
            self._link.run(script("extend"), max(1, round(seconds * 1000)), *tokens)

    def release_owner(self, owner: bytes) -> int:
        """Release every lease of a dead process."""
        return int(self._link.run(script("release_leases"), codec.owner_prefix(owner))) if owner else 0

    def close(self) -> None:
        """Let go of the connection, and of the lease it waited with."""
        token, self._waited = self._waited, b""
        try:
            # a wait that was broken by a signal may have got something
            self._give_up_unknown()
            if token:
                self._link.post(script("drop_lease"), token)
        except BackendError as exc:
            _log.debug("leases end by themselves, they are not given back: %s", exc)
        self._link.close()

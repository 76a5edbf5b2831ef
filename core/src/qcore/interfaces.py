"""The interfaces of plugins, and their obligations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from qcore.errors import NotSupported
from qcore.model import QueueSize  # noqa: TC001 - read at run time by msgspec
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Sequence
    from contextlib import AbstractContextManager

    from qcore.model import (
        DeadLetter,
        Delivery,
        Outgoing,
        Settlement,
        State,
        StoredResult,
        StoredSchedule,
        TaskInfo,
    )
    from qcore_queues.order import QueueOrder


#: dead letters dropped at once
_PAGE = 500

#: what successes are counted by when their number is limited, fields of `StoredResult`
Per = Literal["group", "label", "name"]


@attrs.frozen(kw_only=True)
class Settings:
    """What a broker or store needs of the configuration; handed to its factory."""

    #: name of the queue, `[A-Za-z0-9_.:-]{1,80}`
    name: str
    #: seconds a lease lasts
    retry: float = 60.0
    #: most messages a lease may ask for; None = the user did not say
    bulk: int | None = None
    #: seconds between looks at an empty queue, where the backend cannot wake us
    poll: float = 0.2
    #: whether what does not exist yet is made; without it a broker or store that would make a queue
    #: raises `QueueMissing`, unless `owner` says that it is of a cluster
    create: bool = True
    #: whether that is done by the first write, and what is read before is empty
    make_when_written: bool = False
    #: random bytes that name the process whose leases this connection takes, see `Broker.release_owner`;
    #: empty in a producer, which leases nothing that anybody would have to release for it
    owner: bytes = b""
    #: seconds for which ids of acknowledged messages are remembered; 0 = not at all
    replay_window: float = 0.0
    #: whether the user has set it; a broker to which remembering costs much ignores the default
    replay_is_set: bool = True
    #: ids that are remembered at least, however many messages end in that time
    replay_limit: int = 100_000
    #: which queues leases are taken from, in which order; None = from all, see `Broker.lease`
    queues: QueueOrder | None = None
    #: which queues are paused at the moment, as brokers know them; for a broker that pauses none itself
    left_out: Container[str] | None = None
    #: for a coordination store: the result store of the same thread; one of the same backend may
    #: share its connection
    beside: ResultStore | None = attrs.field(default=None, repr=False)
    #: the plugin's own keys, each already structured into the type it was declared with
    sections: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def section(self, key: str) -> Any:  # noqa: ANN401 - the type is the plugin's own
        """Return what the user wrote under `key`, structured, or None."""
        return self.sections.get(key)


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a broker can do; each claim is tried by `qcore_testing.BrokerContract`."""

    #: a leased message comes back unless it is settled
    redelivers: bool
    #: `extend` renews a lease
    extend: bool
    #: `Outgoing.delay` is honoured
    delay: bool
    #: `failures` and `crashes` of a settlement come back with the next delivery
    stores_counters: bool
    #: dead letters are kept and can be listed and requeued
    dead_letters: bool
    #: the delay of a settlement is honoured
    retry_delay: bool = True
    #: `lease` waits in the backend, without polling
    long_poll: bool = False
    #: a settlement of an expired lease changes nothing (False: the service may let it through)
    fencing: bool = True
    #: each settlement is one step (False: a crash amid RETRY, RELEASE or DEAD_LETTER may leave the message
    #: in the old state and in the new one, never in none)
    atomic_settle: bool = True
    #: `extend` renews by `Settings.retry`, whatever seconds it is given, and a lease lasts as its
    #: producer's `Settings.retry` says
    fixed_lease: bool = False
    #: `purge` reaches delayed messages too
    purges_delayed: bool = True
    #: a second message with an id that is still queued is dropped
    unique_ids: bool = False
    #: most messages in one `lease`, and in `then` of one `commit_and_lease`; the caller keeps to it
    max_batch: int = 1000
    #: largest body, None = no limit
    max_bytes: int | None = None
    #: `publish_status` and `statuses` work
    cluster_status: bool = False
    #: `remove_messages` removes messages that are not leased
    remove_messages: bool = False
    #: `ended` finds the ids of what was acknowledged within `Settings.replay_window`
    remembers_ended: bool = False
    #: `enqueue_on` enqueues as part of a transaction of the caller's
    joins_transactions: bool = False
    #: `begin_transaction` begins a transaction that a task's own statements and its end share
    settles_in_transactions: bool = False
    #: `Outgoing.queue`, `Outgoing.priority` and `Settings.queues` are obeyed, and each queue can be purged
    #: and counted
    queues: bool = False
    #: how many priorities are told apart where there are queues: 201 = each, 3 = above 0, 0 and below 0,
    #: 1 = none, so that another one than 0 is refused
    priorities: int = 201
    #: where there are queues, the broker itself pauses each; where not, `Settings.left_out` does
    pauses_queues: bool = True
    #: where there are queues, messages can be moved from one to another
    moves_queues: bool = True
    #: where there are queues, a message that is released is leased before those that were accepted later
    keeps_place: bool = True
    #: the settings by which the user has to declare queues and priorities, for messages; empty = none
    declared_by: str = ""
    #: other processes see the same queue; without it there can be no cluster
    cross_process: bool = True
    #: names the database behind it; a store with the same one can be written in one step with it
    transaction_domain: str | None = None


class QueueState(msgspec.Struct, frozen=True):
    """One queue of a broker that has several."""

    #: empty = the default one
    name: str
    #: dead letters are counted for all queues together, so that they are None here
    size: QueueSize
    paused: bool = False
    #: body of the message that has been ready for longest; None = there is none
    oldest: bytes | None = None


class Waiting(msgspec.Struct, frozen=True):
    """A ready or delayed message as `Broker.waiting` finds it."""

    body: bytes
    #: empty = the default one
    queue: str = ""
    priority: int = 0
    #: seconds until it may be leased, 0.0 = it is ready
    delay: float = 0.0


class Broker(ABC):
    """A queue of opaque signed bytes; it knows nothing of tasks, results or retries.

    An instance is used by one thread of one process at a time and never crosses a fork, unless
    `after_fork` says that it may. Its `__init__` may connect; a `BackendUnavailable` it raises is
    waited out by workers.
    A queue is what one `Settings.name` names; queues of other names are not touched by any call.
    A broker holds the same connections however often it is called.

    An obstacle that may pass is raised as `BackendUnavailable`, one that will not as
    `BackendRejected`; both say what to do. Every call that needs the server raises
    `BackendUnavailable` while it is away, in bounded time also if it hangs; the same broker works
    again once the server is back. What the capabilities exclude (a delay, the delay of a
    settlement, `extend`, DEAD_LETTER) is refused with `NotSupported`, and the lease goes on.

    Delays and leases may be rounded up to whole seconds, never down. A message larger than
    `Capabilities.max_bytes` is refused by the broker itself, with `PayloadTooLarge`. A reason has
    at most 5,000 characters; a broker that has no room for it keeps its beginning. Of messages
    that become ready in the same instant any may be leased first.
    """

    #: what this broker can do; may be set by `__init__`
    capabilities: Capabilities

    @abstractmethod
    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages.

        - When it returns, every message survives the death of the calling process.
        - Either all are accepted or an error is raised.
        - Any number of messages is taken; the broker splits them by itself.
        - An empty sequence is accepted and changes nothing.
        - Messages without delay are leased in the order they were accepted, as far as the
          backend keeps order at all.
        - A message is not leased before its delay is over.
        - An error that is raised after some were accepted has their ids in
          `BackendError.accepted`.
        """

    @abstractmethod
    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out up to `limit` messages, waiting up to `wait` seconds for the first.

        - A leased message is handed to nobody else for `Settings.retry` seconds.
        - After that time it is handed out again under another receipt, by itself.
        - `deliveries` counts the leases of the message, 1 at the first.
        - It returns at once when anything is ready, with what is ready.
        - An empty queue gives an empty sequence once `wait` is over, not before.
        - A signal that raises in the waiting thread gets out.

        Where the capabilities say that there are queues:

        - Messages of a higher priority are leased first; those of one priority in their order.
        - A message that is released is leased before those of its queue and priority that were
          accepted later and have not been leased; one whose lease ends by itself, before those that
          were accepted after that.
        - With `Settings.queues`, a message is only leased from the queues that its `next()` names,
          asked once a lease, and from an earlier one before any of a later one.
        - Without, all queues are leased from, by priority, and those of one priority in turn, so that
          each gets messages leased.
        - Nothing is leased from a paused queue; where the broker pauses none, nothing from one in
          `Settings.left_out`.
        - A wait ends when a message comes into any of these queues.

        What is said of a released message holds where the capabilities say that it keeps its place.
        """

    @abstractmethod
    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases.

        - ACK removes the message for good.
        - The `id` of an ACK is remembered where the capabilities say so, whether or not the lease
          has ended.
        - RETRY redelivers it after `delay`, with the counters given.
        - RELEASE redelivers it after `delay`; this lease is not counted in `deliveries`.
        - DEAD_LETTER keeps it among the dead letters with its reason and counters.
        - Counters up to 2,147,483,647 come back as they were given.
        - Repeating a settlement changes nothing.
        - A receipt whose lease has ended, or that never was one, is ignored.
        - A receipt is good for every connection of every process that leads to the same queue.
        - An empty sequence changes nothing.
        - The step from leased to the new state is atomic: a crash leaves one or the other, or
          both where the capabilities say so.
        """

    @abstractmethod
    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last `seconds` from now, or `Settings.retry` where leases are fixed.

        - An ended or unknown receipt is ignored.
        - A receipt is good for every connection of every process that leads to the same queue.
        - An empty sequence changes nothing.

        The supervisor extends the leases of its workers, by a connection of its own.
        """

    @abstractmethod
    def size(self) -> QueueSize:
        """Count the messages by state."""

    def peek(self) -> bytes | None:
        """Return the body of a ready message, about that which has been ready for longest.

        - It stays as it is, and None is returned if no message is ready.

        A broker that cannot, or only by reading many messages, returns None: how old the oldest
        message is, is not known then.
        """
        return None

    @abstractmethod
    def purge(self) -> int:
        """Remove every message that is not leased or dead-lettered; return how many.

        - Delayed ones stay where the capabilities say that they are out of its reach.
        """

    @abstractmethod
    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters, oldest first, starting behind the one whose id is `after`.

        - If the dead letter with the id `after` is gone, the list goes on behind its place, or is empty.
          It never starts from the oldest again. An `after` that was never an id gives an empty list.
        """

    @abstractmethod
    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again.

        - Their counters begin anew: the next lease has `deliveries` 1 and no failures.
        - Unknown ids are ignored; the number requeued is returned.
        - A crash leaves each a dead letter or ready, or both where settlements are not atomic.
        """

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good; return how many there were.

        - A message that is not a dead letter stays, whatever ids are given.
        """

    @abstractmethod
    def ping(self) -> None:
        """Return if the backend answers, else raise `BackendUnavailable`."""

    @abstractmethod
    def info(self) -> str:
        """Say in a few words what it is: service, version, place; never a password."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; calling it twice is harmless."""

    # -- what a broker may do better than the default ---------------------------------------

    def after_fork(self, owner: bytes) -> bool:
        """Serve a process that was forked from the one that made it; return False if it cannot.

        - Afterwards the broker acts as one made with `Settings.owner` = `owner`, and its next call connects.
        - It is called before the fork too, in the process that made the broker: it closes connections
          then, so that parent and child share none.

        A worker starts sooner by it. The default returns False, and each worker makes a new broker. The
        same holds for a class that only inherits this method, because it may have connections of its own.
        """
        del owner
        return False

    def queue_id(self) -> str | None:
        """Name the queue it leads to, by every address of it the same; never a password.

        `qcore move` asks, lest it drain a queue into itself. The backend may be asked for it; None
        says that it is not known. The default is `Capabilities.transaction_domain`.
        """
        return self.capabilities.transaction_domain

    def server_time(self) -> float | None:
        """Return the epoch seconds that the backend's clock shows; None if it has none of its own.

        - It is asked anew by each call.

        Expiries and slots of schedules are compared with it, so that the clocks of producers and
        workers may differ. The default is None: then the clock of each machine decides.
        """
        return None

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Save results, enqueue what follows from them, end leases and take the next, without waiting.

        - Results are durable before the messages in `then` are, and these before the settlements.
        - With `limit` 0 nothing is leased.

        The default makes a call for each. Where store and broker share a backend, do it in one
        round trip, and better in one step: this is the hot path of a worker.
        """
        if results and store is not None:
            store.save(results)
        if then:
            self.enqueue(then)
        if settlements:
            self.settle(settlements)
        return self.lease(limit, 0.0) if limit else ()

    def enqueue_on(self, connection: Any, messages: Sequence[Outgoing]) -> None:  # noqa: ANN401 - of any library
        """Accept messages as part of the transaction that is open on a connection of the caller's.

        - They can be leased once the transaction is committed, and are gone with its rollback.
        - A connection that is closed, has no transaction or leads to another database is refused
          with `BackendRejected`, and nothing is enqueued.

        The default refuses every connection. An asynchronous one is brought by a thread while its
        coroutine waits; `qcore_loop.lending.ask` has a call of it awaited there.
        """
        del connection, messages
        msg = f"{type(self).__name__} enqueues in no transaction of yours"
        raise NotSupported(msg)

    def begin_transaction(self, receipt: bytes) -> Any:  # noqa: ANN401 - of any library
        """Begin a transaction for the task of a leased message; return the connection it is open on.

        - A receipt whose lease has passed to another is refused with `BackendRejected`.
        - One that was begun before and has not been ended is rolled back.

        The default refuses every receipt.
        """
        del receipt
        msg = f"qcore.transaction() needs a queue in your database, and {type(self).__name__} is not in one"
        raise NotSupported(msg)

    def commit_transaction(
        self, store: ResultStore, results: Sequence[StoredResult], settlement: Settlement
    ) -> bool:
        """Settle a message in the transaction that was begun for it, save results, and commit.

        - What the task has written, its results and its settlement are durable together, or none is.
        - If the lease has passed to another everything is rolled back, and it returns False.
        - An error that is `BackendRejected` has rolled everything back; after `BackendUnavailable`
          a settlement with the same receipt changes nothing if the transaction was committed.

        The store has the `transaction_domain` of the broker.
        """
        del store, results
        return bool(self.begin_transaction(settlement.receipt))

    def rollback_transaction(self) -> None:
        """Roll back the transaction that was begun; the lease goes on."""

    def lend_transaction(self) -> AbstractContextManager[Any]:
        """Lend a connection with a transaction of its own, for a task that runs where it is enqueued.

        - It is committed with the end of the block, and rolled back by an exception that leaves it.

        The default refuses.
        """
        refused: AbstractContextManager[Any] = Broker.begin_transaction(self, b"")
        return refused

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids under which a message was acknowledged, see `Settlement.id`.

        - Asked by the instance that has just leased messages of these ids.
        - At least the last `Settings.replay_limit` ids are remembered, each for
          `Settings.replay_window` seconds; with a window of 0 none is.

        A broker that cannot remember returns nothing and does not claim `remembers_ended`. It is
        asked once a batch: where ids that are newer than every remembered one are told apart
        without a call to the backend, a queue in good order costs next to nothing.
        """
        del ids
        return ()

    def key_ids(self) -> Mapping[bytes, int] | None:
        """Count ready, delayed and leased messages by `body[model.KEY_ID_AT]`; None = it cannot.

        - No message is leased or changed; the whole queue may be read, some messages twice.
        """
        return None

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body; return whether there is one of this id and it was done."""
        del id, body
        return False

    def release_owner(self, owner: bytes) -> int:
        """Release every lease taken by connections made with `Settings.owner` = `owner`.

        - Called once that process is dead, so that what it leased in its last instant, before
          it could note it down, need not wait for the lease to end.
        - A broker that cannot tell returns 0 and lets the leases run out.
        """
        del owner
        return 0

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages that are not leased; return their bodies.

        - A ready or delayed message of one of these ids is removed for good.
        - A leased, dead-lettered or unknown one stays as it is.

        A body bears its id at `model.ID_AT`. It is asked for seldom and may read the whole queue;
        a broker that cannot returns nothing and does not claim `Capabilities.remove_messages`.
        """
        del ids
        return ()

    def clear(self) -> int:
        """Remove every message there is, and what clusters have published; return how many messages.

        - What is out of its reach stays: the default purges and drops the dead letters, and leaves
          leased messages, which are delivered again when their leases end.
        """
        removed = self.purge()
        while self.capabilities.dead_letters and (page := self.dead_letters(_PAGE)):
            if not (dropped := self.delete([one.id for one in page])):
                break
            removed += dropped
        return removed

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Return those of these ids that messages in the queue bear, in any order.

        - A message is found whether it is ready, delayed, leased or dead-lettered, and stays as it is.
        - None means that the broker cannot tell, or would have to read too many messages for it.

        It is asked for the status of a task of which nothing else is known.
        """
        del ids
        return None

    def queues(self) -> Sequence[QueueState]:
        """Return the queues that have messages or are paused, the default one always, by name.

        - Ready, leased and delayed messages are counted, and may be read for it one by one.
        """
        return ()

    def check_route(self, queue: str, priority: int) -> None:
        """Raise `NotSupported` if a broker with queues takes no messages of this queue or priority."""

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Have no messages of a queue leased, by any process, until it is resumed.

        - What is leased stays leased, and comes back to its queue.
        """
        self._refuse_queues("pause_queue", queue, paused)

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused.

        The default asks `queues`, which counts all messages.
        """
        return any(one.paused for one in self.queues() if one.name == queue)

    def purge_queue(self, queue: str) -> int:
        """Remove every message of a queue that is not leased or dead-lettered; return how many."""
        return self._refuse_queues("purge_queue", queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put every message of a queue that is not leased or dead-lettered into another; return how many.

        - Each keeps its priority, its delay and its counters, and their order stays.
        """
        return self._refuse_queues("move_queue", source, target)

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting] | None:
        """Return messages that are not leased, those that are leased first in front.

        - Of one queue, or of all; no more than `limit`.
        - They stay as they are.
        - None means that the broker cannot look.

        What the backend shows to nobody, such as delayed messages at some services, is left out. A broker
        with fewer than 201 priorities may return any priority of the same band.
        """
        del limit, queue
        return None

    def _refuse_queues(self, call: str, *arguments: object) -> int:
        msg = f"{type(self).__name__} has one queue, so it has no {call}{arguments!r}"
        raise NotSupported(msg)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep sealed bytes about a cluster for `ttl` seconds; b"" removes them."""

    def statuses(self) -> Sequence[bytes]:
        """Return what is published and not expired."""
        return ()


class ResultStore(ABC):
    """Results by task id; the bytes are sealed and opaque to it.

    A store keeps the results of the queue that `Settings.name` names, and touches no others. The
    same rules of threads, forks and errors hold as for `Broker`.
    """

    #: names the database behind it, see `Capabilities.transaction_domain`
    transaction_domain: str | None = None
    #: other processes see the same results
    cross_process: bool = True

    def after_fork(self, owner: bytes) -> bool:
        """Serve a process that was forked from the one that made it, as `Broker.after_fork` does."""
        del owner
        return False

    @abstractmethod
    def save(self, results: Sequence[StoredResult]) -> None:
        """Keep results.

        - When it returns, every result survives the death of the calling process.
        - A stored result is replaced only by one whose state is the same or higher.
        - A stored success is never replaced.
        - Several results of one id in one call act as if saved one by one.
        """

    @abstractmethod
    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`, None where there is none.

        - A result whose `expires` is past is not returned.
        """

    @abstractmethod
    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""

    def watch(
        self, ids: Sequence[bytes], seconds: float, wake: Callable[[bytes], None]
    ) -> Callable[[bytes], None] | None:
        """Have `wake` called with each of these ids whose result becomes final within `seconds`.

        What is returned ends that for one id. None means that the store notifies nobody, so that
        whoever waits has to look for results. `wake` may be called by any thread, needlessly, and not
        at all if a notification is lost, so whoever waits looks now and then.
        """
        del ids, seconds, wake
        return None

    @abstractmethod
    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished.

        - A result that is replaced leaves the group of the one before.
        """

    @abstractmethod
    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first, of one state or of any."""

    @abstractmethod
    def delete(self, ids: Sequence[bytes]) -> int:
        """Forget results; return how many there were."""

    def replace(self, before: StoredResult, after: StoredResult) -> bool:
        """Replace a result, a success too, if its `body` is still what is stored; return whether it was.

        The default deletes and saves: a crash between the two loses the result.
        """
        (found,) = self.get([before.id])
        if found is None or found.body != before.body:
            return False
        self.delete([before.id])
        self.save([after])
        return True

    @abstractmethod
    def counts(self) -> Mapping[State, int]:
        """Count results by state; a state without any may be left out."""

    @abstractmethod
    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it, they stay; return how many there were."""

    @abstractmethod
    def prune(self, keep: int, per: Per | None = None) -> int:
        """Forget what has expired, and the oldest successes beyond `keep`.

        - With `per`, `keep` counts apart for each group, label or name; results that have none
          count together.
        - Failures are kept however many there are.
        - A negative `keep` forgets only what has expired.
        - The number forgotten is returned.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; calling it twice is harmless."""


class Serializer(ABC):
    """Values to bytes and back."""

    #: one byte in the envelope; 1-31 are qcore's own, 128-255 are free for plugins
    code: int
    #: reading hostile bytes can run code: refused unless the configuration accepts it by name
    unsafe: bool = False

    @abstractmethod
    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - any value of a user's
        """Return the bytes of `value`.

        - Anything it cannot write raises `EncodeError` naming the path of the culprit.
        - A value that would come back as another type, such as a member of an enumeration as its
          number, is one that it cannot write; a buffer may come back as bytes.

        - A value that is nested too deeply, or has no form in its format, raises `EncodeError` too.

        A path is written as Python would behind the value: `[0].name` for the key `name` of a dict in
        a list, `.name[0]` for the first item of a list in a dict, and `['a key']` for a key that is
        not an identifier; the value itself has no path. The text is the path, `: ` and the reason.
        """

    @abstractmethod
    def loads(self, data: bytes) -> Any:  # noqa: ANN401 - any value of a user's
        """Return the value of `data`.

        - `loads(dumps(x)) == x` for None, bool, int of 64 bits, float, str, and lists and
          string-keyed dicts of them.
        - Bytes it cannot read raise `DecodeError` and nothing else.
        """


@attrs.frozen(kw_only=True)
class ErrorReport:
    """One failure, as error reporters get it."""

    #: without arguments unless `send_arguments` is set; its name is empty where it is about something else
    task: TaskInfo
    #: how the run ended, a value of `Kind`; else `schedule`, `rejected` or `supervisor`
    kind: str
    #: `Type: text`
    summary: str
    #: the traceback where there is one, else the summary
    text: str
    #: None if the worker died, or the function or its arguments could not be had. Its frames have no
    #: local variables, unless `send_arguments` is set.
    error: BaseException | None = None
    #: what becomes of the message of a task: `retry`, `ack` or `dead_letter`; else empty
    action: str = ""
    #: file, line and function where a task hung that had to be killed, the outermost frame first
    stack: tuple[tuple[str, int, str], ...] = ()
    #: `name` of the configuration: the clusters that run the task
    cluster: str = ""
    #: `label` of the configuration
    label: str = ""
    #: `host:pid` of the worker, or of the supervisor
    worker: str = ""

    @property
    def runs_again(self) -> bool:
        """Whether another run of the task follows."""
        return self.action == "retry"

    @property
    def error_type(self) -> str:
        """The name of the exception's class, or of what stands for one."""
        return self.summary.partition(":")[0] if self.error is None else type(self.error).__qualname__


class ErrorReporter(ABC):
    """Reports failures to an error tracker.

    One is made in the process that workers are forked from, and one in the supervisor. `report` and
    `flush` are called in a thread of its own, one call at a time, so they may wait: while they do,
    further reports wait for them, and those for which there is no room are counted and lost.
    Methods named like the hooks `qcore_pre_execute` and `qcore_post_execute` are called as such, in
    the thread of the task, which they hold up; `wants_run` may leave them out for a run. So are those
    named like a hook of the start and the end of workers and of clusters, and `qcore_cluster_status`.
    """

    #: set before `start`: whether reports have the arguments of tasks and the local variables of frames
    send_arguments: bool = False
    #: set before `start`: the keys and passwords of the configuration
    secrets: Sequence[str] = ()
    #: set before `start`: `name` and `label` of the configuration
    cluster: str = ""
    label: str = ""
    #: set before `preload` if it defines `receive`: has the supervisor's receive less than 64 KiB, and
    #: returns at once; False = it cannot, because there is no supervisor or it reads too slowly
    hand_on: Callable[[bytes], bool] = staticmethod(lambda _: False)
    #: set before `preload`: counts so many reports as lost, and logs why; for those that were not raised
    lose: Callable[[str, int], None] = staticmethod(lambda _, __: None)

    def preload(self) -> None:
        """Import what `start` needs; called in the process that workers are forked from. Start no thread."""

    def start(self) -> None:
        """Begin to work in this process; called once, by its main thread, after its last fork."""

    def receive(self, data: bytes) -> None:
        """Take what a worker's reporter has handed on; called in any thread of a supervisor, and brief."""

    @abstractmethod
    def report(self, report: ErrorReport) -> None:
        """Tell the tracker of a failure; it is called in a copy of the task's context.

        - It reaches the tracker, with its task and its text, at the latest when `flush` returns.
        - Whatever characters texts have, and whatever the methods of an error raise, it is reported.
        - What it raises says why this report, or one before it, is lost; that is counted and logged.
        """

    @abstractmethod
    def flush(self, seconds: float) -> None:
        """Send what is waiting, for at most `seconds`.

        It is called before a process ends, unless that process had no failure and the reporter has no
        methods named like hooks, or `waits` returns False.
        """

    def waits(self) -> bool:
        """Return whether `flush` has anything to do; one that hears of failures alone is not asked."""
        return True

    def wants_run(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - of those that choose
        """Return whether the hooks of a run are to be called; asked in the thread of the task, before it.

        A reporter that traces one task of a hundred saves most of what its hooks cost. One that
        does not define this is not asked.

        Args:
            headers: of the message.

        """
        return True

    def redact(self, value: Any) -> Any:  # noqa: ANN401 - a payload may contain any value
        """Return a copy of a payload's value in which no text contains one of `secrets`."""
        if isinstance(value, str):
            return wording.without(value, self.secrets)
        if isinstance(value, Mapping):
            return {self.redact(key): self.redact(inner) for key, inner in value.items()}
        return [self.redact(inner) for inner in value] if isinstance(value, list | tuple) else value


class ScheduleStore(ABC):
    """Schedules by name; the bytes are sealed and opaque to it.

    A store keeps the schedules of the queue that `Settings.name` names, and touches no others.
    The same rules of threads, forks and errors hold as for `Broker`.
    """

    #: names the database behind it, see `Capabilities.transaction_domain`
    transaction_domain: str | None = None
    #: other processes see the same schedules
    cross_process: bool = True

    @abstractmethod
    def add(self, schedule: StoredSchedule) -> bool:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""

    @abstractmethod
    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name, None if there is none.

        The default looks through all of them, which takes the longer the more there are.
        """
        return next((one for one in self.all() if one.name == name), None)

    @abstractmethod
    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Return schedules whose `next_run` is at or before `now`, the longest due first.

        Of those due at the same instant any may come first.

        - A claimed schedule is claimed by nobody else for `hold` seconds.
        - One that is not `active` is not returned.
        """

    @abstractmethod
    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a claimed schedule by its next state, or remove it with None.

        - It changes nothing and returns False unless the `body` of `before` is still what is kept.
        """

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue what a slot asks for and advance its schedule.

        - With a broker of the same backend it is one step: both are done, or neither.

        The default enqueues, then advances: a crash between the two loses nothing, but whoever
        claims the slot next enqueues messages of the same ids once more.
        """
        if messages:
            broker.enqueue(messages)
        return self.advance(before, after)

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; calling it twice is harmless."""

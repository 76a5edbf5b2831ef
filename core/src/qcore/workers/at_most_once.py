"""Whether a task that may run only once may begin."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from qcore.begun import BEGUN, keep_sign, sign_of
from qcore.errors import EnvelopeError
from qcore.flows.builder import header_too_large
from qcore.messages.results import Begun
from qcore.messages.workflow import encode_tail
from qcore.model import Kind, Outcome, State
from qcore.workers.leased import seal_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import ResultStore
    from qcore.journal.pages import Page
    from qcore.model import StoredResult
    from qcore.runtime import Runtime
    from qcore.workers.batch import Batch
    from qcore.workers.leased import LeasedMessage

_T = TypeVar("_T")

#: Seconds for which the right to run a task stays taken: longer than a copy of its message may come
#: after its acknowledgement.
_TAKEN: Final = 86_400.0
#: What is stored of a task from its acknowledgement to its end.
_BEGUN: Final = "it has begun; if its worker has ended, it was interrupted, and it is not run again"


class UntilAnswered(Protocol):
    """Makes a call again until the backend answers."""

    def __call__(self, call: Callable[..., _T], /, *args: Any) -> _T:
        """Return what the call returned."""


class BeginOnce:
    """Gives the right to run a task to one worker only, once.

    An acknowledgement alone does not: a broker ignores one whose lease has ended, and some brokers
    hand the same message to two workers.
    """

    def __init__(
        self, runtime: Runtime, store: ResultStore, page: Page, batch: Batch, until_answered: UntilAnswered
    ) -> None:
        self._runtime = runtime
        self._coordination = runtime.coordination_stores
        self._results = runtime.results
        self._store = store
        self._page = page
        self._batch = batch
        self._until_answered = until_answered
        #: its cluster keeps a flag while it lives; whether this process knows that
        self._signed = False

    def start(self, index: int, message: LeasedMessage) -> tuple[Outcome | None, int]:
        """Return how a message ends that must not run, and the deadline of one that may, 0 if it has none."""
        outcome = self.begin(index, message)
        timeout = message.plan.timeout
        if outcome is not None or not timeout:
            return outcome, 0
        # Its time begins after its acknowledgement.
        now = time.monotonic_ns()
        self._page.begin(index, now, now + timeout)
        return None, now + timeout

    def begin(self, index: int, message: LeasedMessage) -> Outcome | None:
        """Have a message acknowledged before it begins; return how it ends if it must not run.

        What is not known to be acknowledged does not run.
        """
        if message.plan.call is None:
            # There is nothing to run, so it does not begin.
            return None
        refused: Outcome | None = self._until_answered(self._refusal, message, os.urandom(16))
        tail = _tail(message)
        refused = refused or self._note(index, message, tail)
        if refused is not None:
            return refused
        self._batch.acknowledge(message, self._begun(message, tail))
        self._until_answered(self._batch.settle, 0)
        if message.receipt in self._batch.refused:
            return _interrupted(Kind.INTERRUPTED, "the broker refused its acknowledgement, so it was not run")
        if self._batch.ends.lease_expired():
            why = "its lease ended before its acknowledgement was confirmed, so it was not run"
            return _interrupted(Kind.INTERRUPTED, why)
        return None

    def _note(self, index: int, message: LeasedMessage, tail: bytes) -> Outcome | None:
        """Note in the journal what the supervisor needs if this process is killed from now on.

        A task does not begin whose workflow header has no room there: nobody could continue from it.
        """
        page = self._page
        if page.mark_acknowledged(index, tail):
            return None
        # There is room once what has finished is settled.
        self._until_answered(self._batch.settle, 0)
        if page.mark_acknowledged(index, tail):
            return None
        now = time.time()
        error = f"PayloadTooLarge: {header_too_large(message.plan.name, len(tail))}"
        return Outcome(Kind.FAILURE, error=error, started=now, finished=now, retryable=False)

    def _refusal(self, message: LeasedMessage, holder: bytes) -> Outcome | None:
        """Return how a task ends that must not run, None if `holder` has the right to run it.

        Raises:
            BackendUnavailable: the answer is unknown; ask again with the same holder.

        """
        with self._coordination.connection() as store:
            if not self._signed:
                # Its supervisor goes on with it.
                keep_sign(self._runtime, store, self._runtime.owner)
                self._signed = True
            taken = store.acquire(f"once:{message.opened.id.hex()}", holder, 1, _TAKEN)
        if taken is None and not self._has_begun(message):
            return None
        if message.deliveries == 1:
            return _interrupted(Kind.ALREADY_BEGUN, "a copy of its message was delivered before")
        return _interrupted(Kind.INTERRUPTED, "it has begun before, and how that ended is not known")

    def _begun(self, message: LeasedMessage, tail: bytes) -> StoredResult:
        """Return what is stored of a task until it has ended: all that its end needs if its cluster dies."""
        outcome = _interrupted(Kind.INTERRUPTED, _BEGUN)
        record = seal_result(self._results, message, State.RETRYING, outcome, b"", message.failures)
        begun = Begun(message.opened.head, tail, sign_of(self._runtime.owner))
        # Somebody has to find it, however long that takes.
        return msgspec.structs.replace(self._results.begun(record, begun), group=BEGUN, expires=0.0)

    def _has_begun(self, message: LeasedMessage) -> bool:
        """Whether the result store says that it has begun, where it may have come before."""
        if message.deliveries == 1 and not message.opened.derived:
            return False
        (record,) = self._store.get([message.opened.id])
        if record is None:
            return False
        try:
            body = self._results.open(record.id, record.body)
        except EnvelopeError:
            # Somebody has written a result that cannot be read, so it is not known.
            return True
        return body.state is State.SUCCESS or body.kind == Kind.INTERRUPTED.value


def _tail(message: LeasedMessage) -> bytes:
    """Return the workflow header without the value that the task is called with: nothing follows from it."""
    header = message.tail
    if header is None:
        return b""
    return encode_tail(msgspec.structs.replace(header, previous=None, final_result=None))


def _interrupted(kind: Kind, text: str) -> Outcome:
    """Return the outcome of a task that does not run."""
    return Outcome.unrun(kind, f"Interrupted: {text}")

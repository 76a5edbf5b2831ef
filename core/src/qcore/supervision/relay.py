"""Moves messages from the outbox to the broker."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, BackendRejected, BackendUnavailable, NotSupported, PayloadTooLarge
from qcore.messages.envelope import route_of_body
from qcore.model import ID_AT, Action, Outgoing, Settlement
from qcore_process import stop_guard
from qcore_process.backoff import Backoff
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.relay")

#: Messages moved at once, and seconds of one wait for the next.
_BATCH: Final = 200
_WAIT: Final = 1.0
#: Seconds before a backend is asked again after a failure: the shortest and the longest wait.
_BACKOFF: Final = (0.1, 5.0)
#: Refusals that are a matter of the message; any other may be one of a password or a right.
_OF_THE_MESSAGE: Final = (PayloadTooLarge, NotSupported)
#: How many messages are refused in a row until the others are not tried.
_ENOUGH: Final = 3
#: Seconds before a message is tried again that was refused when others were not.
_AGAIN: Final = 30.0
#: Seconds that its thread is given to end, even if others have taken all the time there was.
_LEAST: Final = 0.5


class Relay:
    """A thread that leases from the outbox, enqueues at the broker and acknowledges, in this order.

    If it dies in between, the message is enqueued twice under one id. Any number of clusters may do
    this for one queue.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._outbox: Broker | None = None
        self._broker: Broker | None = None
        self._closing = threading.Event()
        #: the last error of one of the two, empty when both answer
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="qcore-relay", daemon=True)
        if runtime.config.outbox is not None:
            self._thread.start()

    def close(self, seconds: float) -> None:
        """Stop moving; wait for the thread at most `seconds`."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(max(seconds, _LEAST))
            if self._thread.is_alive():
                stop_guard.log_stack("messages of the outbox are still being moved", self._thread)

    def _run(self) -> None:
        backoff = Backoff(*_BACKOFF)
        while not self._closing.is_set():
            try:
                self._move()
            except BackendError as exc:
                if self.last_error != str(exc):
                    self.last_error = str(exc)
                    _log.warning("messages wait in the outbox until it and the broker answer: %s", exc)
                self._closing.wait(backoff.next())
            except BaseException as exc:  # noqa: BLE001 - logged and reported; the thread has to go on
                _log.exception("an internal error of qcore; the outbox is looked at again")
                self._runtime.reporters.failure(exc, traceback.format_exc())
                self._closing.wait(backoff.next())
            else:
                self.last_error = ""
                backoff.reset()
        for connection in (self._outbox, self._broker):
            if connection is not None:
                connection.close()

    def _move(self) -> None:
        if self._outbox is None:
            self._outbox = self._runtime.make_outbox()
        deliveries = self._outbox.lease(_BATCH, _WAIT)
        if not deliveries:
            return
        if self._broker is None:
            self._broker = self._connect(self._outbox, deliveries)
        try:
            self._broker.enqueue([_outgoing(one) for one in deliveries])
        except BackendUnavailable as exc:
            self._release(self._outbox, deliveries, exc)
            raise
        except BackendRejected as exc:
            accepted = frozenset(exc.accepted)
            self._move_each(
                self._outbox, self._broker, [one for one in deliveries if one.body[ID_AT] not in accepted]
            )
            deliveries = [one for one in deliveries if one.body[ID_AT] in accepted]
        self._outbox.settle([Settlement(one.receipt) for one in deliveries])

    def _connect(self, outbox: Broker, deliveries: Sequence[Delivery]) -> Broker:
        try:
            return self._runtime.make_broker(create=False)
        except BackendError as exc:
            self._release(outbox, deliveries, exc)
            raise

    def _move_each(self, outbox: Broker, broker: Broker, deliveries: Sequence[Delivery]) -> None:
        """Move messages of a batch that was refused, one by one; set aside those that are the reason.

        Raises:
            BackendError: the broker takes none of them.

        """
        left, moved, last = list(deliveries), 0, None
        refused: list[Settlement] = []
        while left and (moved or len(refused) < _ENOUGH):
            one = left.pop(0)
            try:
                broker.enqueue([_outgoing(one)])
            except _OF_THE_MESSAGE as exc:
                _log.error("task %s is a dead letter of the outbox: %s", one.body[ID_AT].hex(), exc)
                outbox.settle(
                    [Settlement(one.receipt, Action.DEAD_LETTER, reason=f"{type(exc).__name__}: {exc}")]
                )
                moved += 1
            except BackendRejected as exc:
                refused.append(Settlement(one.receipt, Action.RELEASE, _AGAIN))
                last = exc
            except BackendUnavailable as exc:
                self._release(outbox, [one, *left], exc)
                outbox.settle(refused)
                raise
            else:
                outbox.settle([Settlement(one.receipt)])
                moved += 1
        if last is None:
            return
        if not moved:
            # Those that were tried come later, so that the next ones are tried before them.
            outbox.settle([*refused, *(Settlement(one.receipt, Action.RELEASE) for one in left)])
            raise last
        outbox.settle(refused)
        _log.error(
            "%s refused by the broker, and tried again in %g s: %s",
            counted(len(refused), "message of the outbox is", "messages of the outbox are"),
            _AGAIN,
            last,
        )

    @staticmethod
    def _release(outbox: Broker, deliveries: Sequence[Delivery], exc: BackendError) -> None:
        """Leave messages in the outbox, except those that were accepted all the same."""
        accepted = frozenset(exc.accepted)
        outbox.settle(
            [
                Settlement(one.receipt, Action.ACK if one.body[ID_AT] in accepted else Action.RELEASE)
                for one in deliveries
            ]
        )


def _outgoing(one: Delivery) -> Outgoing:
    return Outgoing(bytes(one.body[ID_AT]).ljust(16, b"\0"), one.body, 0.0, *route_of_body(one.body))

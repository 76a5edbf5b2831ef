"""Reads what only the broker and the schedule store know."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BackendError, EnvelopeError, QcoreError, QueueMissing
from qcore.interfaces import QueueState
from qcore.messages.head import read_head
from qcore_queues.names import named
from qcore_queues.view import queue_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.app import App
    from qcore.model import QueueSize
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.prometheus")

#: Seconds after its slot at which a schedule is overdue.
OVERDUE: Final = 10.0
#: Seconds for which a scrape waits for the backends; then it gets what was read last.
_TIMEOUT: Final = 1.0
#: Seconds for which the schedules are not read again: there may be many.
_SCHEDULES: Final = 15.0


@attrs.frozen(kw_only=True)
class OneQueue:
    """One of the queues of a name."""

    name: str
    #: messages by state, where the broker knows
    size: QueueSize
    paused: bool = False
    #: epoch seconds when the oldest ready message was enqueued; None = there is none, or it is not known
    oldest: float | None = None


@attrs.frozen(kw_only=True)
class QueueFigures:
    """The queues of a name as they were a moment ago."""

    #: the backends have answered
    up: bool = False
    queues: Sequence[OneQueue] = ()
    #: of all queues together; None = the broker does not know
    dead_letters: int | None = None
    #: whether the age of messages is known
    knows_age: bool = False
    #: schedules that should have fired and have not
    overdue: int | None = None


class QueueReader:
    """Reads the figures of the queues of a name for one thread at a time."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._overdue: int | None = None
        self._counted_at = -_SCHEDULES
        self._knows_age = False

    def read(self) -> QueueFigures:
        """Ask the backends.

        Raises:
            QcoreError: one does not answer.

        """
        runtime = self._app.runtime
        with runtime.brokers.connection() as broker:
            size = broker.size()
            one_queue = not broker.capabilities.queues
            states = (
                [QueueState("", size, oldest=broker.peek())] if one_queue else queue_states(runtime, broker)
            )
        self._knows_age = self._knows_age or any(one.oldest is not None for one in states)
        if time.monotonic() - self._counted_at >= _SCHEDULES:
            self._overdue = _overdue(runtime)
            self._counted_at = time.monotonic()
        return QueueFigures(
            up=True,
            queues=[_figures(runtime, one) for one in states],
            dead_letters=size.dead_letters,
            knows_age=self._knows_age,
            overdue=self._overdue,
        )

    def close(self) -> None:
        """Close the connections."""
        self._app.close()


class BackgroundReader:
    """Reads in a thread of its own, so that a backend that hangs holds up no scrape."""

    def __init__(self, reader: QueueReader) -> None:
        self._reader = reader
        self._last = QueueFigures()
        self._wanted = threading.Event()
        self._answered = threading.Condition()
        self._rounds = 0
        self._closed = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="qcore-prometheus-queue", daemon=True)
        self._thread.start()

    def read(self) -> QueueFigures:
        """Return new figures, or say that the backends are away if they take too long."""
        with self._answered:
            before = self._rounds
            self._wanted.set()
            if self._answered.wait_for(lambda: self._rounds != before, _TIMEOUT):
                return self._last
        return QueueFigures()

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closed:
            self._wanted.clear()
            found, text = QueueFigures(), ""
            try:
                found = self._reader.read()
            except QcoreError as exc:
                text = str(exc)
            except Exception as exc:  # noqa: BLE001 - logged; the next scrape asks again
                text = f"{type(exc).__name__}: {exc}"
            if text and text != self._trouble:
                _log.warning("the figures of the queues cannot be read, the others are served: %s", text)
            self._trouble = text
            with self._answered:
                self._last = found
                self._rounds += 1
                self._answered.notify_all()
        with suppress(BackendError):  # the process ends
            self._reader.close()


def _figures(runtime: Runtime, one: QueueState) -> OneQueue:
    oldest = None if one.oldest is None else _enqueued(runtime, one.oldest)
    return OneQueue(name=named(one.name), size=one.size, paused=one.paused, oldest=oldest)


def _enqueued(runtime: Runtime, body: bytes) -> float | None:
    """Return when a message was enqueued; None for one that was to wait, or that is not ours."""
    with suppress(EnvelopeError):
        opened = runtime.envelope.open(body)
        if not read_head(opened.head).delayed:
            return opened.created / 1000
    return None


def _overdue(runtime: Runtime) -> int:
    now = runtime.clock.now() - OVERDUE
    with suppress(QueueMissing), closing(runtime.make_schedule_store(create=False)) as store:
        return sum(one.active and one.next_run < now for one in store.all())
    return 0

"""What asks the queue, and does what was asked, meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import attrs

from qcore.errors import QcoreError
from qcore.messages.results import forget_failures
from qcore_monitor.view import Do

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.app import App
    from qcore.model import Result
    from qcore_monitor.snapshot import Snapshot, Watcher
    from qcore_monitor.view import Deed


@attrs.frozen
class Told:
    """The outcome of a deed, for people."""

    text: str


@attrs.frozen
class Opened:
    """What the store knows of a task, None if nothing."""

    result: Result | None


@attrs.frozen
class Broken:
    """The thread has ended by a fault of ours."""

    error: Exception


class Fetcher(threading.Thread):
    """Looks at a queue every so often; a broker that does not answer holds up nobody but it."""

    def __init__(
        self,
        app: App,
        watcher: Watcher,
        every: float,
        tell: Callable[[Snapshot | Told | Opened | Broken], None],
    ) -> None:
        super().__init__(name="qcore-monitor", daemon=True)
        self._app = app
        self._watcher = watcher
        self._every = every
        self._tell = tell
        #: None = it is to end
        self._asked: queue.SimpleQueue[Deed | None] = queue.SimpleQueue()

    def ask(self, deed: Deed) -> None:
        """Have something done as soon as what is being asked has been answered."""
        self._asked.put(deed)

    def halt(self) -> None:
        """Have the thread end."""
        self._asked.put(None)

    def run(self) -> None:
        """Look, and do what is asked, until told to end."""
        try:
            while self._turn():
                pass
        except Exception as exc:  # noqa: BLE001 - handed over to the main thread, which raises it
            self._tell(Broken(exc))

    def _turn(self) -> bool:
        """Look once, then do what is asked until it is time for the next look; return whether to go on."""
        began = time.monotonic()
        self._tell(self._watcher.look())
        while (left := began + self._every - time.monotonic()) > 0:
            try:
                deed = self._asked.get(timeout=left)
            except queue.Empty:
                break
            if deed is None:
                return False
            self._tell(self._done(deed))
            if deed.do is not Do.OPEN:
                self._watcher.forget()
                break
        return True

    def _done(self, deed: Deed) -> Told | Opened:
        try:
            if deed.do is Do.OPEN:
                return Opened(self._app.results.fetch(deed.id))
            return Told(carry_out(self._app, deed))
        except QcoreError as exc:
            return Told(f"not done: {exc}")


def carry_out(app: App, deed: Deed) -> str:
    """Do something to the queue; return what came of it."""
    match deed.do:
        case Do.PAUSE:
            app.queue.pause()
            return f"the queue {deed.name} is paused; p resumes it"
        case Do.RESUME:
            app.queue.resume()
            return f"the queue {deed.name} goes on"
        case Do.CANCEL:
            done = app.cancel(deed.id)
            return f"{deed.name} is told to stop" if done else f"{deed.name} has ended by itself"
        case Do.REQUEUE:
            return _requeue(app, deed)
        case Do.OPEN:
            return ""


def _requeue(app: App, deed: Deed) -> str:
    # Whoever waits for the new result must not be handed the old failure.
    with app.runtime.stores.connection() as store:
        forget_failures(store, [bytes.fromhex(deed.task_id)] if deed.task_id else [])
    with app.runtime.brokers.connection() as broker:
        done = broker.requeue([deed.id])
    return f"{deed.name} is back on the queue" if done else f"{deed.name} is a dead letter no more"

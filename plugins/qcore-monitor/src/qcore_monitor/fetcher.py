"""The thread that reads the queue and carries out actions."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import attrs

from qcore.cli.dead_letters import requeue_all
from qcore.cli.ids import every_dead_letter
from qcore.errors import QcoreError
from qcore_monitor.view import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.app import App
    from qcore.model import Result
    from qcore_monitor.snapshot import Snapshot, Watcher
    from qcore_monitor.view import Action


@attrs.frozen
class ActionDone:
    """What came of an action, as text."""

    text: str


@attrs.frozen
class ResultFetched:
    """The stored result of a task, None if there is none."""

    result: Result | None


@attrs.frozen
class FetcherFailed:
    """The thread has ended by an unexpected error."""

    error: Exception


class Fetcher(threading.Thread):
    """Reads the state of a queue periodically; a broker that does not answer blocks only this thread."""

    def __init__(
        self,
        app: App,
        watcher: Watcher,
        every: float,
        publish: Callable[[Snapshot | ActionDone | ResultFetched | FetcherFailed], None],
    ) -> None:
        super().__init__(name="qcore-monitor", daemon=True)
        self._app = app
        self._watcher = watcher
        self._every = every
        self._publish = publish
        #: None = end
        self._asked: queue.SimpleQueue[Action | None] = queue.SimpleQueue()

    def ask(self, action: Action) -> None:
        """Have an action carried out once the read under way has ended."""
        self._asked.put(action)

    def halt(self) -> None:
        """Have the thread end."""
        self._asked.put(None)

    def run(self) -> None:
        """Read the queue and carry out actions until `halt` is called."""
        try:
            while self._turn():
                pass
        except Exception as exc:  # noqa: BLE001 - handed over to the main thread, which raises it
            self._publish(FetcherFailed(exc))

    def _turn(self) -> bool:
        """Read once, then carry out actions until the next read is due; return whether to continue."""
        began = time.monotonic()
        self._publish(self._watcher.look())
        while (left := began + self._every - time.monotonic()) > 0:
            try:
                action = self._asked.get(timeout=left)
            except queue.Empty:
                break
            if action is None:
                return False
            self._publish(self._done(action))
            if action.verb is not Verb.OPEN:
                self._watcher.forget()
                break
        return True

    def _done(self, action: Action) -> ActionDone | ResultFetched:
        try:
            if action.verb is Verb.OPEN:
                return ResultFetched(self._app.results.fetch(action.id))
            return ActionDone(carry_out(self._app, action))
        except QcoreError as exc:
            return ActionDone(f"not done: {exc}")


def carry_out(app: App, action: Action) -> str:
    """Carry out an action on the queue; return what came of it."""
    match action.verb:
        case Verb.PAUSE:
            app.queue.pause()
            return f"the queue {action.name} is paused; p resumes it"
        case Verb.RESUME:
            app.queue.resume()
            return f"the queue {action.name} is resumed"
        case Verb.CANCEL:
            done = app.cancel(action.id)
            return f"{action.name} is being cancelled" if done else f"{action.name} had ended already"
        case Verb.REQUEUE:
            return _requeue(app, action)
        case Verb.OPEN:
            return ""


def _requeue(app: App, action: Action) -> str:
    with app.runtime.brokers.connection() as broker:
        chosen = [one for one in every_dead_letter(broker) if one.id == action.id]
        done = requeue_all(app.runtime, broker, chosen)
    return f"{action.name} is requeued" if done else f"{action.name} is not a dead letter any more"

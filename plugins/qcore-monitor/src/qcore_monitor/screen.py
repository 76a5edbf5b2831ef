"""How keys, figures and signals come together on a screen."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import select
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.cli.exit_codes import Exit
from qcore_monitor.fetcher import ActionDone, Fetcher, FetcherFailed, ResultFetched
from qcore_monitor.layout import evened, frame
from qcore_monitor.snapshot import Snapshot, Watcher
from qcore_monitor.view import Verb, View, press

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.app import App
    from qcore_monitor.glyphs import Glyphs
    from qcore_monitor.terminal import Terminal

#: what ends us, but not before the terminal is as it was
_ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Seconds the thread is given to end; one that waits for a dead broker is left behind.
_LAST_WORDS: Final = 0.3


class Screen:
    """The monitor on a terminal."""

    def __init__(self, app: App, terminal: Terminal, marks: Glyphs, every: float) -> None:
        self._terminal = terminal
        self._marks = marks
        self._view = View(every=every)
        self._snapshot = Snapshot()
        self._news: queue.SimpleQueue[Snapshot | ActionDone | ResultFetched | FetcherFailed] = (
            queue.SimpleQueue()
        )
        self._signals: list[int] = []
        self._wake, self._bell = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._bell, False)
        self._attendant = Fetcher(app, Watcher(app), every, self._hear)

    def run(self) -> Exit:
        """Show the queue until somebody has seen enough."""
        ended_by = 0
        try:
            with self._heeding(), self._terminal:
                self._attendant.start()
                while not self._view.over and not ended_by:
                    self._paint()
                    self._wait()
                    self._take_news()
                    ended_by = self._obey()
        finally:
            self._attendant.halt()
            self._attendant.join(_LAST_WORDS)
        if ended_by == signal.SIGINT:
            return Exit.INTERRUPTED
        if ended_by:
            # As any program that is asked to end: its parent sees which signal ended it.
            signal.signal(ended_by, signal.SIG_DFL)
            os.kill(os.getpid(), ended_by)
        return Exit.OK

    # -- what happens ---------------------------------------------------------------------------

    def _hear(self, news: Snapshot | ActionDone | ResultFetched | FetcherFailed) -> None:
        """Take news from the thread."""
        self._news.put(news)
        # A full pipe wakes us as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"\0")

    def _paint(self) -> None:
        size, now = self._terminal.size(), time.time()
        self._view = evened(self._view, self._snapshot, size, self._marks, now)
        self._terminal.paint(frame(self._view, self._snapshot, size, self._marks, now))

    def _wait(self) -> None:
        """Wait for a key, news or a signal, and at most until the clock shows another second."""
        ready, _, _ = select.select([self._terminal.fd, self._wake], [], [], 1.0 - time.time() % 1.0)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._terminal.fd in ready:
            keys = self._terminal.pressed()
            if keys is None:
                self._view = attrs.evolve(self._view, over=True)
            for key in keys or ():
                self._view, action = press(self._view, key, self._snapshot, time.time())
                if action is not None:
                    self._attendant.ask(action)
                if action is not None and action.verb is not Verb.OPEN:
                    # A slow answer of the broker does not mean that no key was pressed.
                    told = f"{action.verb.value} {action.name}: waiting for the answer ..."
                    self._view = attrs.evolve(self._view, message=told, message_until=math.inf)

    def _take_news(self) -> None:
        while not self._news.empty():
            match self._news.get():
                case Snapshot() as snapshot:
                    self._snapshot = snapshot
                case ResultFetched(result):
                    self._view = attrs.evolve(self._view, opened=result)
                case ActionDone(text):
                    self._view = self._view.say(text, time.time())
                case FetcherFailed(error):
                    raise error

    # -- signals --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _heeding(self) -> Iterator[None]:
        """Have signals end the wait and be obeyed between two paintings."""
        wanted = (*_ENDS, signal.SIGWINCH, signal.SIGTSTP)
        before: dict[int, Any] = {number: signal.signal(number, self._on_signal) for number in wanted}
        before_fd = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        self._signals.append(number)

    def _obey(self) -> int:
        """Do what signals ask; return the one that ends us, 0 if none does."""
        while self._signals:
            number = self._signals.pop(0)
            if number in _ENDS:
                return number
            if number == signal.SIGTSTP:
                self._rest()
        return 0

    def _rest(self) -> None:
        """Be stopped by control-Z, with the terminal given back meanwhile."""
        self._terminal.__exit__(None, None, None)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here we are again.
        signal.signal(signal.SIGTSTP, self._on_signal)
        self._terminal.__enter__()

"""Runs several tasks at once, leasing for free places."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from qcore.flows.completion import Completion
from qcore.journal.records import FinishedMessage, WorkerState
from qcore.model import Kind, Outcome
from qcore.settle import release_after
from qcore.workers.leased import journal_records
from qcore_at_once.cell_runs import CellRun
from qcore_at_once.demand import AHEAD, Demand
from qcore_at_once.ledger import Ledger
from qcore_at_once.runners import Runners
from qcore_at_once.scout import Scout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.config import Config
    from qcore.interfaces import Broker
    from qcore.journal.pages import Page
    from qcore.model import Delivery
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.own_rules import OwnRules
    from qcore_at_once.awaited import Awaiter
    from qcore_at_once.home import Home
    from qcore_at_once.shared_batch import SharedBatch
    from qcore_at_once.threaded import ThreadExecutor

#: Nanoseconds after which a message that cannot begin is released, for another worker may be idle.
_LONG: Final = 20_000_000
#: Seconds for which ends are taken in before others begin, so that what ends together does not begin so.
_TURN: Final = 0.002
#: Most seconds of one wait while tasks run.
_WAIT: Final = 0.5


class SideBySide:
    """The tasks that one worker runs at once."""

    def __init__(  # noqa: PLR0917 - the parts of a worker
        self,
        config: Config,
        page: Page,
        batch: SharedBatch,
        rules: OwnRules,
        home: Home,
        connect: Callable[[], Broker],
        make_awaiter: Callable[[], Awaiter],
        make_executor: Callable[[], ThreadExecutor],
    ) -> None:
        self._page = page
        self._cells = page.cells
        self._batch = batch
        self._rules = rules
        self._home = home
        #: what ends, and what the scout has found, in the order in which it comes
        self._news: queue.SimpleQueue[CellRun | Sequence[Delivery] | None] = queue.SimpleQueue()
        self._many_threads = config.threads > 1
        self._runners = Runners(config, make_awaiter, make_executor, self._news.put)
        self._make_scout: Callable[[], Scout] = lambda: Scout(connect, self._news.put)
        self._scout: Scout | None = None
        count = config.coroutines + config.threads + AHEAD
        self._cells.open(count)
        self._free = list(range(count))
        #: messages that have not begun, those that run alone, and those that run now, by cell
        self._held: deque[CellRun] = deque()
        self._alone: deque[CellRun] = deque()
        self._runs: dict[int, CellRun] = {}
        self._ledger = Ledger(batch, home)
        self._demand = Demand(many_threads=self._many_threads, usual=page.metrics.usual_run())
        #: the last lease got all it asked for, so there may be more
        self._more = True

    # -- from the first message to an empty queue -----------------------------------------------

    def work(self) -> list[LeasedMessage]:
        """Run messages and what comes after them; return those to run one after the other instead.

        They stay in their cells until `forget` is called. None are returned if the queue is empty, or
        the worker is to stop.
        """
        self._page.set_state(WorkerState.BUSY)
        self._more = True
        while True:
            self._page.commands.mark_beat()
            self._begin_held()
            if not self._runs:
                if not self._ledger.is_empty or self._can_lease():
                    self._settle()
                    continue
                if self._scout is None or not self._scout.out:
                    left = [*self._alone, *self._held]
                    self._batch.events.waited = left[0].waited if left else 0.0
                    return [one.message for one in left]
            self._release_waiting()
            self._take_news()
            self._begin_held()  # so that they run while this thread settles
            if self._can_lease() or self._ledger.is_due or not (self._runs or self._ledger.is_empty):
                self._settle()
            self._send_scout()

    def forget(self) -> None:
        """Free the cells of messages that were handed over: they are in the journal of a batch."""
        for one in (*self._alone, *self._held):
            self._let_go(one)
        self._alone.clear()
        self._held.clear()

    def interrupt(self) -> None:
        """Interrupt what is cancelled or late: called by a handler of SIGALRM."""
        now = time.monotonic_ns()
        for one in list(self._runs.values()):
            if (kind := one.why_to_stop(now)) is not None and self._runners.interrupt(one, kind):
                one.stopped = kind

    def wake(self) -> None:
        """End the wait for news: called by a signal handler."""
        self._news.put(None)

    def close(self) -> None:
        """Release what the scout has found, and end all threads."""
        if self._scout is not None:
            self._scout.close()
            while not self._news.empty():
                news = self._news.get()
                if news and not isinstance(news, CellRun):
                    self._batch.release(news)
            self._settle(0)
        self._runners.close()

    # -- messages that have not begun -----------------------------------------------------------

    def take(self, messages: Sequence[LeasedMessage]) -> None:
        """Record leased messages in the journal; those beyond its cells are released."""
        now, leased, most = time.monotonic_ns(), time.time(), len(self._free)
        self._batch.release(messages[most:])
        waited = self._batch.events.waited
        for message, record in zip(messages[:most], journal_records(messages[:most]), strict=True):
            if message.plan.call is not None:
                self._demand.saw(is_async=message.plan.is_async)
            one = CellRun(self._cells, self._free.pop(), message, record, now, leased, waited)
            # One that is too large for a cell has room in the journal of a batch, in which it runs alone.
            fits = self._cells.hold(one.cell, record, now)
            (self._held if fits else self._alone).append(one)

    def _begin_held(self) -> None:
        """Begin what there is room for."""
        if self._home.stopping:
            self._release_all()
            return
        waiting: deque[CellRun] = deque()
        while self._held:
            one = self._held.popleft()
            plan = one.message.plan
            if not self._runs and not self._many_threads and plan.call is None:
                # Nothing runs at once any more, or not yet.
                waiting.append(one)
                break
            if plan.call is None:
                self._find(one)
            if one.message.runs_alone:
                self._alone.append(one)
            elif plan.call is None:
                one.started = time.monotonic_ns()
                self._finish(one, Outcome.unrun(Kind.FAILURE, plan.fault))
            elif self._has_room(plan):
                self._begin(one)
            else:
                waiting.append(one)
                if not self._runs and not self._many_threads:
                    break
        waiting.extend(self._held)
        self._held = waiting
        self._runners.start_coroutines()

    def _has_room(self, plan: TaskPlan) -> bool:
        if plan.is_async:
            return self._runners.room_for_coroutines > 0
        return self._runners.room_for_threads > 0 and (bool(self._runs) or self._many_threads)

    def _find(self, one: CellRun) -> None:
        # Importing a user's module can end the process, and then this message counts as running.
        self._cells.begin(one.cell, time.monotonic_ns(), 0)
        self._home.find(one.message.plan)
        self._cells.put_back(one.cell)

    def _release_waiting(self) -> None:
        """Release messages that cannot begin soon: another worker may have room for them."""
        now = time.monotonic_ns()
        if self._held and now - self._held[0].held_at > _LONG and self._batch.redelivers:
            self._release_all()
            self._demand.released(*self._runners.room)

    def _release_all(self) -> None:
        released = [*self._held, *(self._alone if self._home.stopping else ())]
        self._ledger.release(released)
        self._held.clear()
        if self._home.stopping:
            self._alone.clear()

    # -- runs -----------------------------------------------------------------------------------

    def _begin(self, one: CellRun) -> None:
        plan = one.message.plan
        one.started = time.monotonic_ns()
        one.deadline = one.started + plan.timeout if plan.timeout else 0
        self._cells.begin(one.cell, one.started, one.deadline)
        outcome, wait = None, 0.0
        if plan.max_crashes is not None:
            self._cells.limit_crashes(one.cell, plan.max_crashes)
        if plan.limit is not None:
            outcome, wait = self._rules.acquire(one.message)
        if wait:
            self._defer(one, wait)
            return
        outcome = outcome or self._runners.begin(one)
        if outcome is None:
            self._runs[one.cell] = one
        else:
            self._finish(one, outcome)

    def _defer(self, one: CellRun, seconds: float) -> None:
        """Release a message that must not run yet, uncounted."""
        settlement = release_after(seconds).settlement(one.message.receipt)
        self._cells.end(one.cell, FinishedMessage(one.cell, settlement))
        self._ledger.write(Completion(settlement), one)

    def _finish(self, one: CellRun, outcome: Outcome) -> None:
        self._home.count()
        taken = time.monotonic_ns() - one.started
        self._page.metrics.ran(1, taken)
        self._demand.ran(taken)
        self._ledger.write(self._batch.finish_one(one, outcome), one)
        # It ends before its permit is released, or the supervisor would extend the permit.
        self._rules.release(one.message)

    def _take_news(self) -> None:
        """Take in what has ended or was found, after waiting for the first of it unless others may begin."""
        wait = min(_WAIT, self._demand.until_many_end(self._runs.values()))
        longest = 0.0 if self._can_lease() else _LONG / 1e9 if self._held else wait
        timeout = longest if self._ledger.is_empty else max(0.0, self._ledger.left)
        try:
            news = self._news.get(timeout=timeout)
            until = time.monotonic() + _TURN
            self._take(news)
            while time.monotonic() < until:
                self._take(self._news.get_nowait())
        except queue.Empty:
            return

    def _take(self, news: CellRun | Sequence[Delivery] | None) -> None:
        if news is None:
            return
        if not isinstance(news, CellRun):
            if self._scout is not None:
                self._scout.out = False
            self._more = bool(news)
            self._receive(news)
            return
        outcome = self._runners.end(news)
        del self._runs[news.cell]
        self._finish(news, outcome)

    # -- the queue ------------------------------------------------------------------------------

    def _can_lease(self) -> bool:
        return self._more and self._want() > 0

    def _want(self) -> int:
        """Return how many messages there is room for."""
        if self._alone or self._home.stopping or self._home.leaves or self._page.commands.paused:
            return 0
        if not self._runs and self._held:
            # They go on without cells.
            return 0
        running, held = len(self._runs), len(self._held)
        wanted = self._demand.wanted(*self._runners.room, self._runs.values(), held)
        return self._home.limit(min(wanted, len(self._free)), running + held)

    def _settle(self, limit: int | None = None) -> None:
        """Make what has finished durable, and lease for the free places."""
        wanted = self._want() if limit is None else limit
        deliveries, ended = self._ledger.settle(wanted)
        for one in ended:
            self._let_go(one)
        if wanted:
            self._more = len(deliveries) >= wanted
            self._receive(deliveries)

    def _receive(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._page.commands.paused or self._home.stopping:
            self._batch.release(deliveries)
            self._more = False
            self._settle(0)
            return
        messages = self._home.verified(deliveries)
        self._batch.events.measure_wait(self._page, messages)
        self.take(messages)

    def _send_scout(self) -> None:
        """Have somebody wait for messages while tasks run, if the queue is empty and there is room."""
        if self._more or not self._runs or not self._want():
            return
        if self._scout is None:
            self._scout = self._make_scout()
        if not self._scout.out:
            self._scout.send()

    def _let_go(self, one: CellRun) -> None:
        self._cells.free(one.cell)
        self._free.append(one.cell)

"""The real broker, store, settle table, batch and journal under every kind of mishap, step by step."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qcore import App, Config
from qcore.errors import BackendUnavailable
from qcore.journal.memory import Journal
from qcore.messages.envelope import task_id
from qcore.model import Kind, Outcome, State
from qcore.plugins import Plugins
from qcore.runtime import Runtime
from qcore.supervision.protocol import Notice
from qcore.supervision.recovery import Recovery
from qcore.supervision.slot import Slot, WorkerExit
from qcore.tasks.plan import Planner
from qcore.workers.batch import Batch
from qcore_sqlite import broker, counts, ended, next_message, putting, queues, results
from tests.chaos import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore.workers.leased import LeasedMessage

pytestmark = pytest.mark.chaos

LEASE: Final = 30.0
ATTEMPTS: Final = 2
CRASHES: Final = 2
#: tasks at once: few, so that the same one meets many mishaps
MOST: Final = 2
#: how often a message may come back without a word before it is given up, see `qcore.settle`
SILENT: Final = 10
KINDS: Final = (Kind.SUCCESS, Kind.FAILURE, Kind.TIMEOUT, Kind.RESULT_NOT_STORABLE, Kind.CANCELLED)


#: looking for plugins takes longer than a step of the machine
PLUGINS: Final = Plugins.discover()


class Clock:
    """The broker's time, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def namespace(self) -> types.SimpleNamespace:
        """Return what stands for the module `time`."""
        return types.SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic)


class Forgetful:
    """A broker whose answer is lost once in a while, after it has done what it was asked."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.loses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def commit_and_lease(self, *what: Any) -> Any:
        """Do it, and perhaps lose the answer."""
        found = self._broker.commit_and_lease(*what)
        if self.loses:
            self.loses = False
            raise BackendUnavailable
        return found


class Hand:
    """One worker, driven by the test line by line."""

    def __init__(self, runtime: Runtime, slot: Slot, seat: Journal) -> None:
        self.runtime = runtime
        self.slot = slot
        self.broker = Forgetful(runtime.make_broker())
        self.store = runtime.make_store()
        self.page = slot.page = seat.page(slot.number)
        slot.pid = 1
        planner = Planner(runtime.rules(), timeout=None, save=True, allowed=None)
        self.batch = Batch(runtime, self.broker, self.store, planner, self.page)  # type: ignore[arg-type]  # as a broker
        self.entries: Sequence[LeasedMessage] = ()
        self.ended: Sequence[LeasedMessage] = ()
        #: when it leased what it holds, counted in leases
        self.turn = 0
        self.position = 0

    @property
    def holds(self) -> bool:
        """Whether there is anything left to run."""
        return self.position < len(self.entries)

    def lease(self, count: int) -> None:
        """Take messages and note them down."""
        self.entries = self.batch.accept(self.broker.lease(count, 0))
        self.position = 0

    def begin(self) -> LeasedMessage:
        """Begin the next message."""
        assert self.page.begin(self.position, 1, 0)
        return self.entries[self.position]

    def finish(self, kind: Kind) -> None:
        """End what has begun."""
        outcome = Outcome(kind, 1 if kind is Kind.SUCCESS else None, error=kind.value, finished=time.time())
        self.batch.finish(self.position, self.entries[self.position], outcome)
        self.position += 1
        self.page.end(self.position, self.position)

    def settle(self) -> None:
        """Settle what has ended, and give back what has not begun."""
        self.batch.release_unstarted()
        try:
            self.batch.settle(0)
        except BackendUnavailable:
            self.batch.settle(0)
        self.ended = self.entries[: self.position]
        self.entries, self.position = (), 0
        self.batch.accept(())

    def close(self) -> None:
        """Let go."""
        self.broker.close()
        self.store.close()


class Machine(RuleBasedStateMachine):
    """Two workers on one queue, their supervisor, and what may befall them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="qcore-machine-"))
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        for module in (broker, counts, ended, next_message, putting, queues, results):
            self.patch.setattr(module, "time", self.clock.namespace())
        self.config = Config.from_dict(
            {
                "name": "machine",
                "workers": 2,
                "secret_key": "the key of the machine, nobody else's",
                "sqlite": {"path": str(self.folder / "queue.db")},
                "retry": LEASE,
                "max_attempts": ATTEMPTS,
                "max_crashes": CRASHES,
                "save_limit": 0,
                "log_level": "CRITICAL",
            },
            PLUGINS,
        )
        self.runtime = Runtime(self.config, PLUGINS)
        self.app = App(self.config, plugins=PLUGINS)
        self.journal = Journal.create(2)
        self.slots = [Slot(number, self.journal.page(number), []) for number in range(2)]
        self.hands = [Hand(self.runtime, slot, self.journal) for slot in self.slots]
        self.store = self.runtime.make_store()
        self.broker = self.runtime.make_broker()
        self.rescuer = Recovery(self.runtime, lambda: (self.broker, self.store))
        self.view = sqlite3.connect(self.folder / "queue.db")
        #: ids accepted, how often each ran, which have succeeded
        self.accepted: list[str] = []
        self.runs: Counter[str] = Counter()
        self.succeeded: set[str] = set()
        self.expiries = self.lost = self.turn = 0

    # -- what happens ---------------------------------------------------------------------------

    @initialize(count=st.integers(1, MOST))
    def begin(self, count: int) -> None:
        """Begin with something to do."""
        self.enqueue(count)

    @precondition(lambda self: len(self.accepted) < MOST)
    @rule(count=st.integers(1, 2))
    def enqueue(self, count: int) -> None:
        """Accept tasks."""
        calls = [self.app.task(tasks.record).bind("", number) for number in range(count)]
        self.accepted += [job.id for job in self.app.enqueue_many(calls)]

    @precondition(lambda self: self.able(lambda hand: not hand.entries))
    @rule(first=st.booleans(), count=st.integers(1, 3))
    def lease(self, first: bool, count: int) -> None:
        """Lease messages; what has ended before is not among what will run."""
        hand = self.pick(first, lambda hand: not hand.entries)
        hand.lease(count)
        self.turn += 1
        hand.turn = self.turn
        for entry in hand.entries:
            (stored,) = self.store.get([entry.opened.id])
            ended = stored is not None and stored.state.final
            assert not (ended and entry.deliveries > 1), "I7: it is to run although it has ended"

    @precondition(lambda self: self.able(lambda hand: hand.holds))
    @rule(first=st.booleans(), kind=st.sampled_from(KINDS))
    def run(self, first: bool, kind: Kind) -> None:
        """Run the next message to its end."""
        hand = self.pick(first, lambda hand: hand.holds)
        self.runs[hand.begin().opened.id.hex()] += 1
        hand.finish(kind)

    @precondition(lambda self: self.able(lambda hand: hand.entries))
    @rule(first=st.booleans(), loses=st.booleans())
    def settle(self, first: bool, loses: bool) -> None:
        """Settle a batch, perhaps in its middle; the answer may be lost, and it is then settled again."""
        hand = self.pick(first, lambda hand: hand.entries)
        hand.broker.loses = loses
        self.lost += loses
        before = self.counters()
        left = [entry.opened.id.hex() for entry in hand.entries[hand.position :]]
        (other,) = [one for one in self.hands if one is not hand]
        lost = {entry.opened.id.hex() for entry in other.entries} if other.turn > hand.turn else set()
        hand.settle()
        after = self.counters()
        for entry in hand.ended:
            id_ = entry.opened.id.hex()
            assert id_ not in lost or before.get(id_) == after.get(id_), (
                "I5: a lost lease has changed a message"
            )
        for id_ in left:
            assert before.get(id_, ("",))[1:] == after.get(id_, ("",))[1:], (
                "I9: a message given back was charged"
            )

    @precondition(lambda self: self.able(lambda hand: hand.entries))
    @rule(first=st.booleans(), running=st.booleans())
    def worker_dies(self, first: bool, running: bool) -> None:
        """A worker dies, and the supervisor settles for it."""
        hand = self.pick(first, lambda hand: hand.entries)
        if running and hand.holds:
            self.runs[hand.begin().opened.id.hex()] += 1
        self.rescuer.recover(WorkerExit(hand.slot, Notice("down", hand.slot.number, 1, -9)))
        self._replace(hand)

    @precondition(lambda self: self.able(lambda hand: hand.entries))
    @rule(first=st.booleans(), running=st.booleans())
    def machine_dies(self, first: bool, running: bool) -> None:
        """A worker and whoever knew of it die; only the lease is left."""
        hand = self.pick(first, lambda hand: hand.entries)
        if running and hand.holds:
            self.runs[hand.begin().opened.id.hex()] += 1
        self._replace(hand)

    @rule(part=st.sampled_from([0.4, 1.1]))
    def time_passes(self, part: float) -> None:
        """Leases grow old, and run out under those who still work."""
        self.clock.now += LEASE * part
        self.expiries += 1

    @precondition(
        lambda self: self.able(lambda hand: hand.entries) and self.able(lambda hand: not hand.entries)
    )
    @rule()
    def overtake(self) -> None:
        """A lease runs out under one that works, and the other takes over."""
        self.time_passes(1.1)
        self.lease(first=True, count=3)

    # -- what must hold -------------------------------------------------------------------------

    def counters(self) -> dict[str, tuple[str, int, int]]:
        """Return where each message is, with its failures and crashes."""
        found = {}
        for table, columns in (
            ("queue", "0, 0"),
            ("returned", "failures, crashes"),
            ("dead_letter", "failures, crashes"),
        ):
            for body, *counted in self.view.execute(f"select body, {columns} from {table}"):  # noqa: S608 - ours
                id_ = task_id(body)
                assert id_ not in found, "a message is there twice"
                found[id_] = (table, *counted)
        return found

    @invariant()
    def nothing_is_lost(self) -> None:
        """I1 and I2: every accepted task is in the queue, or dead-lettered, or has a terminal result."""
        there = self.counters()
        stored = self.store.get([bytes.fromhex(id_) for id_ in self.accepted])
        for id_, result in zip(self.accepted, stored, strict=True):
            ended = result is not None and result.state.final
            assert id_ in there or ended, "I1: a task is lost"
            if result is not None and result.state is State.SUCCESS:
                self.succeeded.add(id_)
            # I3
            assert id_ not in self.succeeded or (result is not None and result.state is State.SUCCESS)

    @invariant()
    def nothing_runs_too_often(self) -> None:
        """I4: the budgets, and what time and the network have cost, bound the runs of each task."""
        bound = ATTEMPTS + CRASHES + SILENT + self.expiries + self.lost
        assert max(self.runs.values(), default=0) <= bound

    @invariant()
    def budgets_are_kept(self) -> None:
        """No message waits to run that has used up a budget."""
        for table, failures, crashes in self.counters().values():
            if table != "dead_letter":
                assert failures < ATTEMPTS
                assert crashes < CRASHES

    def able(self, condition: Callable[[Hand], object]) -> bool:
        """Whether one of the workers is."""
        return any(map(condition, self.hands))

    def pick(self, first: bool, condition: Callable[[Hand], object]) -> Hand:
        """Return one of the workers that are."""
        able = [hand for hand in self.hands if condition(hand)]
        return able[0 if first else -1]

    def _replace(self, hand: Hand) -> None:
        hand.close()
        hand.page.reset()
        self.hands[hand.slot.number] = Hand(self.runtime, hand.slot, self.journal)

    def teardown(self) -> None:
        """L1: with nothing going wrong any more, every task comes to its end."""
        try:
            self._work_off()
        finally:
            self.rescuer.close()
            self.broker.close()
            for hand in self.hands:
                hand.close()
            self.store.close()
            self.view.close()
            self.app.close()
            self.runtime.close()
            self.journal.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _work_off(self) -> None:
        for _ in range(60):
            for hand in self.hands:
                while hand.holds:
                    hand.begin()
                    hand.finish(random.choice([Kind.SUCCESS, Kind.FAILURE]))
                hand.settle()
                hand.lease(100)
            size = self.hands[0].broker.size()
            if not (size.ready or size.leased or size.delayed):
                break
            self.clock.now += LEASE * 1.1
        self.nothing_is_lost()
        left = {id_ for id_, (table, *_) in self.counters().items() if table != "dead_letter"}
        assert not left, "L1: tasks that never end"
        stored = self.store.get([bytes.fromhex(id_) for id_ in self.accepted])
        assert all(one is not None and one.state.final for one in stored)


def test_a_late_death_does_not_undo_the_verdict_of_whoever_took_over() -> None:
    """A worker that lost its lease dies in its run: the task has ended, and its result stays."""
    machine = Machine()
    try:
        machine.enqueue(1)
        machine.lease(first=True, count=1)
        machine.overtake()
        machine.run(first=False, kind=Kind.RESULT_NOT_STORABLE)
        machine.settle(first=False, loses=False)

        machine.worker_dies(first=True, running=True)

        machine.nothing_is_lost()
    finally:
        # The clock of this process is the machine's until then.
        machine.teardown()


@pytest.mark.early
class TestMachine(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes the class
    """A hundred lives of a queue."""

    settings = hypothesis_settings(
        max_examples=100,
        stateful_step_count=40,
        deadline=None,
        # looking for the shortest failure would take longer than a test may; the long variant does
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )


@pytest.mark.long
class TestMachineForLong(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes the class
    """The same for much longer."""

    settings = hypothesis_settings(max_examples=3000, stateful_step_count=60, deadline=None)

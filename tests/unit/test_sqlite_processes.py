"""Guarantees for many processes that use one SQLite queue."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qcore.model import Action, QueueSize, State
from qcore_sqlite import SqliteBroker, make_broker, make_results
from tests.unit.sqlite_base import LONG, bodies, outgoing, python, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: leases ten messages at a time until there are none, and prints their bodies
DRAIN = """
import sys
from qcore_sqlite import make_broker
from qcore.model import Settlement
from tests.unit.sqlite_base import settings_for
from pathlib import Path
broker = make_broker(settings_for(Path(sys.argv[1])))
sys.stdin.readline()
settlements = []
while leased := broker.commit_and_lease(None, (), settlements, 10):
    settlements = [Settlement(delivery.receipt) for delivery in leased]
    print(*(delivery.body.decode() for delivery in leased), sep="\\n")
"""

#: leases, saves results and acknowledges; dies at a chosen point of its third transaction
WORK = """
import os, signal, sys, time
from pathlib import Path
from qcore_sqlite import broker as module, leases, make_results
from qcore.model import Settlement
from tests.unit.sqlite_base import result, settings_for

settings, point = settings_for(Path(sys.argv[1]), retry=-1.0), sys.argv[2]
broker, store = module.make_broker(settings), make_results(settings)
calls = 0

def deadly(work):
    def call(*arguments, **named):
        global calls
        value = work(*arguments, **named)
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
    return call

if point == "save":
    module.save = deadly(module.save)
elif point == "settle":
    leases.settle = deadly(leases.settle)
elif point == "lease":
    broker._claim = deadly(broker._claim)
elif point == "commit":
    broker._database.write = deadly(broker._database.write)
results, settlements = [], []
while leased := broker.commit_and_lease(store, results, settlements, 7):
    results = [result(delivery.body.rjust(16)) for delivery in leased]
    settlements = [Settlement(delivery.receipt) for delivery in leased]
    if point == "any":
        print("working", flush=True)
"""

#: opens the queue when it gets a line, and enqueues
OPEN = """
import sys
from pathlib import Path
from qcore_sqlite import make_broker
from tests.unit.sqlite_base import outgoing, settings_for
print("ready", flush=True)
sys.stdin.readline()
make_broker(settings_for(Path(sys.argv[1]))).enqueue(outgoing(b"hello"))
"""

#: sends each message back, as often as the third argument says
ECHO = """
import sys
from pathlib import Path
from qcore_sqlite import make_broker, wakeup
from qcore.model import Settlement
from tests.unit.sqlite_base import LONG, outgoing, settings_for
wakeup.MAX_WAIT = LONG
here, there = (make_broker(settings_for(Path(path), poll=LONG)) for path in sys.argv[1:3])
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    (delivery,) = here.lease(1, 30)
    here.settle([Settlement(delivery.receipt)])
    there.enqueue(outgoing(delivery.body))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of this test's queue."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases do not expire during the test."""
    broker = make_broker(settings_for(path))
    yield broker
    broker.close()


def test_two_processes_share_two_thousand_messages(path: Path, broker: SqliteBroker) -> None:
    """Each message is leased by exactly one of several processes that lease at once."""
    expected = [b"%d" % number for number in range(2000)]
    broker.enqueue(outgoing(*expected))

    with python(DRAIN, path) as one, python(DRAIN, path) as other:
        one.go()
        other.go()
        actual = one.end() + other.end()

    assert sorted(actual) == sorted(body.decode() for body in expected)
    assert broker.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)


@pytest.mark.parametrize("point", ["save", "settle", "lease", "commit"])
def test_death_in_the_middle_of_a_transaction_loses_nothing(
    path: Path, broker: SqliteBroker, point: str
) -> None:
    """Each message is either queued or has a result, never both and never neither."""
    expected = {b"%d" % number for number in range(100)}
    broker.enqueue(outgoing(*sorted(expected)))

    with python(WORK, path, point) as worker:
        worker.end()

    assert worker.process.returncode == -signal.SIGKILL
    done, queued = done_and_queued(path, broker)
    assert done | queued == expected
    assert not done & queued
    assert done


def test_death_at_any_moment_loses_nothing(path: Path, broker: SqliteBroker) -> None:
    """Workers are killed repeatedly while they work, and no message is lost."""
    expected = {b"%d" % number for number in range(5000)}
    broker.enqueue(outgoing(*sorted(expected)))

    for _ in range(8):
        with python(WORK, path, "any") as worker:
            worker.ready()

    done, queued = done_and_queued(path, broker)
    assert done | queued == expected
    assert not done & queued


def done_and_queued(path: Path, broker: SqliteBroker) -> tuple[set[bytes], set[bytes]]:
    """Return the messages that have results and those that can still be leased."""
    store = make_results(settings_for(path))
    done = {found.id.strip() for found in store.recent(State.SUCCESS, 10_000)}
    store.close()
    queued = {body for _ in range(1000) for body in bodies(broker.lease(100, 0))}
    return done, queued


def test_processes_that_open_a_new_queue_at_once_agree(path: Path) -> None:
    """The tables are created once, whichever process is first, and no message is lost."""
    with contextlib.ExitStack() as stack:
        openers = [stack.enter_context(python(OPEN, path)) for _ in range(6)]
        for opener in openers:
            opener.ready()
        for opener in openers:
            opener.go()
        for opener in openers:
            opener.end()

    broker = make_broker(settings_for(path))
    size = broker.size()
    broker.close()

    assert [opener.process.returncode for opener in openers] == [0] * 6
    assert size.ready == 6


def test_no_wake_up_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is sent to and fro a thousand times by notifications alone, without polling."""
    monkeypatch.setattr("qcore_sqlite.wakeup.MAX_WAIT", LONG)
    there, here = (make_broker(settings_for(tmp_path / name, poll=LONG)) for name in ("a.db", "b.db"))

    with python(ECHO, tmp_path / "a.db", tmp_path / "b.db", 1000) as echo:
        echo.ready()
        for number in range(1000):
            there.enqueue(outgoing(b"%d" % number))
            leased = here.lease(1, 30)
            assert bodies(leased) == [b"%d" % number]
            settle_all(here, leased)

    there.close()
    here.close()


def test_a_child_can_use_the_broker_of_its_parent(path: Path, broker: SqliteBroker) -> None:
    """After a fork the parent and the child have separate connections with separate locks."""
    broker.enqueue(outgoing(b"before"))

    pid = in_a_child(lambda: broker.enqueue(outgoing(b"child")))
    broker.enqueue(outgoing(b"parent"))

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert set(bodies(broker.lease(10, 0))) == {b"before", b"child", b"parent"}


def test_a_child_that_closes_the_broker_does_not_affect_its_parent(path: Path, broker: SqliteBroker) -> None:
    """A child that closes the broker does not touch the log, the locks and the wake-ups of its parent."""
    assert list(broker.lease(1, 0.01)) == []

    pid = in_a_child(broker.close)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    other = make_broker(settings_for(path))
    other.enqueue(outgoing(b"a"))
    other.close()

    assert bodies(broker.lease(1, 10)) == [b"a"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_affect_a_waiting_thread_of_the_parent(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for a message gets it although another thread forked meanwhile."""
    monkeypatch.setattr("qcore_sqlite.wakeup.MAX_WAIT", LONG)
    leased: list[bytes] = []
    waiting = threading.Event()
    wait = broker._database.work_added.wait

    def signal_and_wait(seconds: float) -> None:
        waiting.set()
        wait(seconds)

    monkeypatch.setattr(broker._database.work_added, "wait", signal_and_wait)
    thread = threading.Thread(target=lambda: leased.extend(bodies(broker.lease(1, 30))))
    thread.start()
    assert waiting.wait(10)

    pid = in_a_child(lambda: None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    other = make_broker(settings_for(path))
    other.enqueue(outgoing(b"a"))
    other.close()
    thread.join(10)

    assert leased == [b"a"]


def in_a_child(work: Callable[[], object]) -> int:
    """Call `work` in a forked process and return its pid; it exits with 1 if anything is raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_a_signal_handler_that_raises_ends_a_wait(broker: SqliteBroker) -> None:
    """A signal handler that raises ends the wait, and the broker stays usable."""

    class Alarm(Exception):
        pass

    def raise_alarm(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, raise_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    started = time.monotonic()
    try:
        with pytest.raises(Alarm):
            broker.lease(1, 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    broker.enqueue(outgoing(b"a"))

    assert time.monotonic() - started < 30
    assert bodies(broker.lease(1, 0)) == [b"a"]


def test_interruptions_at_any_moment_leave_no_transaction_open(path: Path, broker: SqliteBroker) -> None:
    """A signal handler that raises anywhere inside a call never leaves the file locked."""

    class Alarm(Exception):
        pass

    def raise_alarm(*_: object) -> None:
        raise Alarm

    other = make_broker(settings_for(path, busy_timeout=0.0))
    before = signal.signal(signal.SIGALRM, raise_alarm)
    interrupted = 0
    # an exception raised in a callback of the garbage collector is lost, and hypothesis has such a callback
    gc.disable()
    try:
        for number in range(300):
            try:
                # repeated each second, because one that is raised in a callback of the interpreter is lost
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 50 * 0.00001, 1)
                while True:
                    broker.enqueue(outgoing(b"a", b"b"))
                    settle_all(broker, broker.lease(2, 0), Action.RETRY)
                    broker.purge()
            except Alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
                interrupted += 1
            other.enqueue(outgoing(b"c", b"d"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
        other.close()

    assert interrupted == 300

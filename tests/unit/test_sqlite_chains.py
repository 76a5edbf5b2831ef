"""Results, follow-up messages, settlements and leases in one SQLite transaction."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendUnavailable
from qcore.model import ID_AT, QueueSize, Settlement, State
from qcore_sqlite import SqliteBroker, SqliteResults, make_broker, make_results
from qcore_testing.memory import MemoryResults, MemoryServer
from tests.unit.sqlite_base import LONG, bodies, outgoing, python, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: runs one step of each chain at a time; dies at a chosen point of its third transaction
CHAIN = """
import os, signal, sys
from pathlib import Path
from qcore_sqlite import broker as module, leases, make_results
from qcore.model import Settlement
from tests.unit.sqlite_base import outgoing, result, settings_for

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
elif point == "put":
    module.put = deadly(module.put)
elif point == "settle":
    leases.settle = deadly(leases.settle)
elif point == "lease":
    broker._claim = deadly(broker._claim)
elif point == "commit":
    broker._database.write = deadly(broker._database.write)
results, settlements, then = [], [], []
while leased := broker.commit_and_lease(store, results, settlements, 2, then):
    steps = [delivery.body.split(b":") for delivery in leased]
    results = [result(delivery.body.rjust(16)) for delivery in leased]
    then = outgoing(*(b"%s:%d" % (chain, int(number) + 1) for chain, number in steps))
    settlements = [Settlement(delivery.receipt) for delivery in leased]
    if point == "any":
        print("working", flush=True)
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


@pytest.fixture
def store(path: Path) -> Iterator[SqliteResults]:
    """Yield the result store of the same file."""
    store = make_results(settings_for(path))
    yield store
    store.close()


@pytest.mark.parametrize("point", ["save", "put", "settle", "lease", "commit"])
def test_death_in_the_middle_of_a_transaction_breaks_no_chain(
    broker: SqliteBroker, store: SqliteResults, path: Path, point: str
) -> None:
    """Exactly one step of each chain is queued, and each step before it has a result."""
    broker.enqueue(outgoing(*(b"%d:0" % chain for chain in range(5))))

    with python(CHAIN, path, point) as worker:
        worker.end()

    assert worker.process.returncode == -signal.SIGKILL
    assert sum(check_chains(broker, store, 5)) > 0


def test_death_at_any_moment_breaks_no_chain(broker: SqliteBroker, store: SqliteResults, path: Path) -> None:
    """A worker is killed repeatedly while it works, and no step is lost or enqueued twice."""
    broker.enqueue(outgoing(*(b"%d:0" % chain for chain in range(5))))

    for _ in range(8):
        # one at a time; its leases expire at once, so that the next worker need not wait for them
        with python(CHAIN, path, "any") as worker:
            worker.ready()
            # killed once it has saved a result, which takes a while on a busy machine
            end = time.monotonic() + 20
            while not store.recent(State.SUCCESS, 1) and time.monotonic() < end:
                time.sleep(0.001)

    assert sum(check_chains(broker, store, 5)) > 0


def check_chains(broker: SqliteBroker, store: SqliteResults, chains: int) -> list[int]:
    """Check that one step of each chain is queued and all before it have results; return those steps."""
    queued = {int(chain): int(step) for chain, step in (body.split(b":") for body in drain(broker))}
    kept = sorted(found.id.strip() for found in store.recent(State.SUCCESS, 100_000))
    assert sorted(queued) == list(range(chains))
    assert kept == sorted(b"%d:%d" % (chain, step) for chain in queued for step in range(queued[chain]))
    return list(queued.values())


def drain(broker: SqliteBroker) -> list[bytes]:
    """Lease all messages; each body occurs once."""
    found: list[bytes] = []
    while leased := broker.lease(100, 0):
        found += bodies(leased)
    assert len(found) == len(set(found))
    return found


def test_a_follow_up_message_is_leased_in_the_same_call(broker: SqliteBroker, store: SqliteResults) -> None:
    """The next step of a chain needs no second call to lease it."""
    broker.enqueue(outgoing(b"first"))
    (first,) = broker.lease(1, 0)

    taken = broker.commit_and_lease(
        store, [result(bytes(16))], [Settlement(first.receipt)], 5, outgoing(b"next")
    )

    assert bodies(taken) == [b"next"]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)


def test_a_follow_up_message_that_does_not_fit_rolls_everything_back(
    broker: SqliteBroker, store: SqliteResults
) -> None:
    """If a step cannot be enqueued, neither the result nor the settlement is kept."""
    broker.enqueue(outgoing(b"first"))
    (first,) = broker.lease(1, 0)
    connection = broker._database._open
    assert connection is not None
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0] + 3}")

    with pytest.raises(BackendUnavailable, match="is full and nothing was changed"):
        broker.commit_and_lease(
            store, [result(bytes(16))], [Settlement(first.receipt)], 5, outgoing(b"small", bytes(50_000))
        )

    assert store.get([bytes(16)]) == [None]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)


def test_results_of_another_store_are_saved_first(broker: SqliteBroker, path: Path) -> None:
    """A store of another kind has the result before anything is written to this file."""
    short_timeout = make_broker(settings_for(path, busy_timeout=0.0))
    elsewhere = MemoryResults(MemoryServer().results("test"), backend="elsewhere")
    short_timeout.enqueue(outgoing(b"first"))
    (first,) = short_timeout.lease(1, 0)
    kept = result(bytes(16))

    broker._database._begin()
    with pytest.raises(BackendUnavailable, match="is locked"):
        short_timeout.commit_and_lease(elsewhere, [kept], [Settlement(first.receipt)], 5, outgoing(b"next"))
    broker._database._rollback()
    assert elsewhere.get([bytes(16)]) == [kept]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)
    again = short_timeout.commit_and_lease(
        elsewhere, [kept], [Settlement(first.receipt)], 5, outgoing(b"next")
    )
    short_timeout.close()

    assert bodies(again) == [b"next"]


@pytest.mark.parametrize(
    ("limit", "delays", "expected"),
    [(0, [0.0], 1), (1, [0.0], 1), (2, [0.0], 0), (2, [0.0, 0.0, 0.0], 1), (5, [LONG], 1), (5, [], 0)],
)
def test_other_workers_are_woken_only_for_messages_that_are_left(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch, limit: int, delays: list[float], expected: int
) -> None:
    """A worker that runs a chain step by step does not wake all other workers at each step."""
    broker.enqueue(outgoing(b"first"))
    leased = broker.lease(1, 0)
    notified = []
    monkeypatch.setattr(broker._database.work_added, "notify", lambda: notified.append(True))

    then = [message for delay in delays for message in outgoing(b"next", delay=delay)]
    broker.commit_and_lease(None, (), [Settlement(delivery.receipt) for delivery in leased], limit, then)

    assert len(notified) == expected


def test_a_removed_number_that_is_reused_is_counted(broker: SqliteBroker) -> None:
    """SQLite reuses the highest number once deleted, which is then no longer a gap."""
    sent = [b"%042d" % number for number in range(6)]
    broker.enqueue(outgoing(*sent))

    broker.remove_messages([sent[5][ID_AT], sent[2][ID_AT]])
    broker.enqueue(outgoing(b"new"))
    before = broker.size().ready
    leased = broker.lease(10, 0)
    settle_all(broker, leased)
    broker.enqueue(outgoing(*sent))

    assert before == 5
    assert bodies(leased) == [sent[0], sent[1], sent[3], sent[4], b"new"]
    assert broker.size().ready == 6
    assert broker._database.read(lambda connection: connection.execute("select * from gap").fetchall()) == []

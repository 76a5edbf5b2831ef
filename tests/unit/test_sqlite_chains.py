"""Results, what follows, settlements and leases in one transaction of SQLite."""

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

#: takes each chain a step further at a time; dies at a chosen point of its third exchange
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
    def call(*arguments):
        global calls
        value = work(*arguments)
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
    """Return where the queue of this test lies."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases outlast the test."""
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
def test_death_in_the_middle_of_an_exchange_breaks_no_chain(
    broker: SqliteBroker, store: SqliteResults, path: Path, point: str
) -> None:
    """Of a step and the one that follows from it exactly one is queued, and the step before has a result."""
    broker.enqueue(outgoing(*(b"%d:0" % chain for chain in range(5))))

    with python(CHAIN, path, point) as worker:
        worker.end()

    assert worker.process.returncode == -signal.SIGKILL
    assert sum(whole(broker, store, 5)) > 0


def test_death_at_any_moment_breaks_no_chain(broker: SqliteBroker, store: SqliteResults, path: Path) -> None:
    """A worker is killed again and again while it works, and no step is lost or made twice."""
    broker.enqueue(outgoing(*(b"%d:0" % chain for chain in range(5))))

    for _ in range(8):
        # one at a time: its leases run out at once, so that the next one need not wait for them
        with python(CHAIN, path, "any") as worker:
            worker.ready()
            # once it has got somewhere; on a busy machine that takes a while
            end = time.monotonic() + 20
            while not store.recent(State.SUCCESS, 1) and time.monotonic() < end:
                time.sleep(0.001)

    assert sum(whole(broker, store, 5)) > 0


def whole(broker: SqliteBroker, store: SqliteResults, chains: int) -> list[int]:
    """See that each chain is at one step and all before it have results; return the steps."""
    queued = {int(chain): int(step) for chain, step in (body.split(b":") for body in drain(broker))}
    kept = sorted(found.id.strip() for found in store.recent(State.SUCCESS, 100_000))
    assert sorted(queued) == list(range(chains))
    assert kept == sorted(b"%d:%d" % (chain, step) for chain in queued for step in range(queued[chain]))
    return list(queued.values())


def drain(broker: SqliteBroker) -> list[bytes]:
    """Lease all there is; each body once."""
    found: list[bytes] = []
    while leased := broker.lease(100, 0):
        found += bodies(leased)
    assert len(found) == len(set(found))
    return found


def test_what_follows_is_leased_in_the_same_call(broker: SqliteBroker, store: SqliteResults) -> None:
    """The next step of a chain needs no second look at the queue."""
    broker.enqueue(outgoing(b"first"))
    (first,) = broker.lease(1, 0)

    taken = broker.commit_and_lease(
        store, [result(bytes(16))], [Settlement(first.receipt)], 5, outgoing(b"next")
    )

    assert bodies(taken) == [b"next"]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)


def test_what_follows_and_does_not_fit_leaves_all_as_it_was(
    broker: SqliteBroker, store: SqliteResults
) -> None:
    """A step that cannot be enqueued keeps the result and the settlement back as well."""
    broker.enqueue(outgoing(b"first"))
    (first,) = broker.lease(1, 0)
    connection = broker._database._open
    assert connection is not None
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0] + 3}")

    with pytest.raises(BackendUnavailable, match="is full; nothing was changed"):
        broker.commit_and_lease(
            store, [result(bytes(16))], [Settlement(first.receipt)], 5, outgoing(b"small", bytes(50_000))
        )

    assert store.get([bytes(16)]) == [None]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)


def test_results_kept_elsewhere_are_kept_first(broker: SqliteBroker, path: Path) -> None:
    """A store of another kind has the result before anything is written here."""
    impatient = make_broker(settings_for(path, busy_timeout=0.0))
    elsewhere = MemoryResults(MemoryServer().results("test"), backend="elsewhere")
    impatient.enqueue(outgoing(b"first"))
    (first,) = impatient.lease(1, 0)
    kept = result(bytes(16))

    broker._database._begin()
    with pytest.raises(BackendUnavailable, match="is locked"):
        impatient.commit_and_lease(elsewhere, [kept], [Settlement(first.receipt)], 5, outgoing(b"next"))
    broker._database._undo()
    assert elsewhere.get([bytes(16)]) == [kept]
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)
    again = impatient.commit_and_lease(elsewhere, [kept], [Settlement(first.receipt)], 5, outgoing(b"next"))
    impatient.close()

    assert bodies(again) == [b"next"]


@pytest.mark.parametrize(
    ("limit", "delays", "expected"),
    [(0, [0.0], 1), (1, [0.0], 1), (2, [0.0], 0), (2, [0.0, 0.0, 0.0], 1), (5, [LONG], 1), (5, [], 0)],
)
def test_others_are_woken_only_for_what_is_left_to_them(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch, limit: int, delays: list[float], expected: int
) -> None:
    """A chain that one worker takes from step to step does not wake all others at each."""
    broker.enqueue(outgoing(b"first"))
    leased = broker.lease(1, 0)
    rung = []
    monkeypatch.setattr(broker._database.work, "ring", lambda: rung.append(True))

    then = [message for delay in delays for message in outgoing(b"next", delay=delay)]
    broker.commit_and_lease(None, (), [Settlement(delivery.receipt) for delivery in leased], limit, then)

    assert len(rung) == expected


def test_a_withdrawn_number_that_is_given_out_again_is_counted(broker: SqliteBroker) -> None:
    """SQLite gives a deleted highest number out again: it is a hole no longer."""
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
    assert broker._database.read(lambda connection: connection.execute("select * from hole").fetchall()) == []

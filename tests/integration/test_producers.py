"""One App serves threads, forks and many producers at once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qcore.errors import EncodeError
from qcore_testing.processes import Child
from tests.integration import tasks
from tests.integration.land import finals

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.land import Land


def test_many_threads_enqueue_through_one_app(land: Land) -> None:
    """Sixteen threads enqueue at once; each gets its own results."""
    app, _ = land.both(save_limit=0)

    def produce(number: int) -> list[int]:
        jobs = [app.enqueue(tasks.add, number * 100, n) for n in range(25)]
        return [job.result(wait=100) for job in jobs]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(produce, range(16)))

    assert found == [[number * 100 + n for n in range(25)] for number in range(16)]


def test_hundreds_of_results_are_awaited_from_several_threads(land: Land) -> None:
    """Waiting for results in eight threads while they come in misses none."""
    app, _ = land.both(save_limit=0)
    jobs = app.enqueue_many([app.task(tasks.add).bind(n, n) for n in range(400)])
    found: dict[int, int] = {}

    def wait(part: int) -> None:
        for number in range(part, 400, 8):
            found[number] = jobs[number].result(wait=100)

    threads = [threading.Thread(target=wait, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == {n: 2 * n for n in range(400)}


def test_app_goes_on_in_parent_and_child_of_a_fork(land: Land) -> None:
    """A forked child uses the same App with connections of its own; the parent's are not hurt."""
    app, _ = land.both()
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2

    def work(tell: Callable[[str], None]) -> None:
        tell(str(app.enqueue(tasks.add, 2, 2).result(wait=100)))

    with Child(work) as first, Child(work) as second:
        here = app.enqueue(tasks.add, 3, 3).result(wait=100)
        told = [first.line(), second.line()]
        assert (first.join(), second.join()) == (0, 0)

    assert (here, told) == (6, ["4", "4"])
    assert app.enqueue(tasks.add, 4, 4).result(wait=100) == 8


def test_fork_beside_many_threads_does_not_hang(land: Land) -> None:
    """A child forked while other threads enqueue finds no lock held for ever."""
    app, _ = land.both(save_limit=0)
    done = threading.Event()
    found: list[int] = []

    def produce() -> None:
        while not done.is_set():
            found.append(app.enqueue(tasks.add, 1, 1).result(wait=100))

    threads = [threading.Thread(target=produce) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            with Child(lambda tell: tell(str(app.enqueue(tasks.add, 1, 1).result(wait=100)))) as child:
                assert child.line() == "2"
                assert child.join() == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert set(found) == {2}


@pytest.mark.early
def test_fork_while_other_threads_connect_does_not_hang(land: Land) -> None:
    """A child forked while another thread opens a database can open one too."""
    app = land.app()
    app.queue.size()
    done = threading.Event()

    def connect() -> None:
        while not done.is_set():
            app.runtime.make_broker().close()

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            with Child(lambda tell: tell(str(app.queue.size().ready)), timeout=45) as child:
                assert child.line() == "0"
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_bulk_enqueue_is_all_or_nothing(land: Land) -> None:
    """One bad call among many, and none is enqueued."""
    app = land.app()
    calls = [app.task(tasks.echo).bind(n) for n in range(10)]
    calls.append(app.task(tasks.echo).bind(threading.Lock()))

    with pytest.raises(EncodeError, match=r"argument 1 of tests.integration.tasks.echo"):
        app.enqueue_many(calls)
    assert app.queue.size().ready == 0


def test_two_clusters_share_one_queue(land: Land) -> None:
    """Every task is run by one of them, once."""
    app, first = land.both(workers=1, save_limit=0)
    second = land.cluster(workers=1, save_limit=0)
    assert first.pid != second.pid

    jobs = app.enqueue_many([app.task(tasks.nap).bind(0.005, str(land.file()))] * 150)
    results = finals(jobs)

    assert len({result.value for result in results}) == 2
    assert len(land.file().read_text().splitlines()) == 150
    assert os.getpid() not in {result.value for result in results}

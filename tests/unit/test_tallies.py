"""What is counted of tasks in shared memory, and what a cluster makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.journal.memory import Journal
from qcore.model import Action, Kind
from qcore.status import TIME_BOUNDS, TaskCounts
from qcore_counts.metrics import bucket, durations, longest, middle
from qcore_counts.tallies import MAX_NAMES, MAX_ROWS, OTHER, TALLIES, Tallies, TalliesSum, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.journal.pages import Page

pytestmark = pytest.mark.portable


def table() -> Tallies:
    """Return an empty table."""
    return Tallies(memoryview(bytearray(TALLIES)))


@pytest.fixture
def page() -> Iterator[Page]:
    """Return the page of a worker."""
    journal = Journal.create(1)
    yield journal.page(0)
    journal.close()


def test_runs_are_counted_by_name_and_end(page: Page) -> None:
    """With how long they took, and what became of their messages."""
    page.tallies.add("shop.pay", Kind.SUCCESS, 3, seconds=1.5)
    page.tallies.add("shop.pay", Kind.FAILURE, seconds=0.5, action=Action.RETRY)
    page.tallies.add("shop.pay", Kind.TIMEOUT, action=Action.DEAD_LETTER)
    page.tallies.add("shop.ship", Kind.SUCCESS)

    runs = {"success": 3, "failure": 1, "timeout": 1}
    assert page.tallies.read() == {
        "shop.pay": TaskCounts(
            runs=runs,
            left=4,
            retries=1,
            dead_letters=1,
            seconds=2.0,
            failed_seconds=0.5,
            success_times=(3,),
            failed_times=(1,),
        ),
        "shop.ship": TaskCounts(runs={"success": 1}, left=1),
    }


def test_the_next_worker_of_a_slot_goes_on_counting(page: Page) -> None:
    """A dashboard takes a count that shrinks for a restart of the cluster."""
    page.tallies.add("shop.pay", Kind.SUCCESS, 3)
    page.reset()

    Tallies(page.tallies._memory).add("shop.pay", Kind.SUCCESS)

    assert page.tallies.read()["shop.pay"].runs == {"success": 4}


def test_a_batch_of_messages_leaves_the_counts_alone(page: Page) -> None:
    """Messages begin behind them."""
    page.tallies.add("shop.pay", Kind.SUCCESS)
    for number in range(MAX_NAMES + 1):
        page.tallies.add(f"task{number}", Kind.SUCCESS)
    page.write_batch([], 0)
    page.metrics.count_redeliveries(2)
    page.metrics.count_error()

    assert page.tallies.read()["shop.pay"].runs == {"success": 1}
    assert (page.metrics.redeliveries, page.metrics.errors) == (2, 1)
    assert page.metrics.reports() == (0, 0)


def test_names_are_bounded() -> None:
    """Whoever enqueues may name any task; what does not fit is counted together."""
    tallies = table()
    for number in range(MAX_NAMES * 3):
        tallies.add(f"task{number}", Kind.FAILURE)
        tallies.add("task0", Kind.FAILURE)

    found = tallies.read()
    assert len(found) == MAX_NAMES + 1
    assert found["task0"].runs == {"failure": MAX_NAMES * 3 + 1}
    assert found[OTHER].runs == {"failure": MAX_NAMES * 2}


def test_each_queue_of_a_task_is_counted_apart(page: Page) -> None:
    """And all together; a task that was only ever on the queue without a name has no parts."""
    page.tallies.add("shop.pay", Kind.SUCCESS, 3, seconds=1.5)
    page.tallies.add("shop.pay", Kind.SUCCESS, 2, queue="mail", seconds=0.5, waited=0.003)
    page.tallies.add_waits("shop.pay", 0.003, 1, queue="mail")
    page.tallies.add("shop.ship", Kind.FAILURE)
    mail = TaskCounts(
        runs={"success": 2},
        left=2,
        seconds=0.5,
        waited_seconds=0.009,
        success_times=(2,),
        wait_times=(0, 0, 3),
    )
    default = TaskCounts(runs={"success": 3}, left=3, seconds=1.5, success_times=(3,))

    found = Tallies(page.tallies._memory).read()

    assert found["shop.pay"].queues == {"default": default, "mail": mail}
    assert found["shop.pay"].runs == {"success": 5}
    assert found["shop.ship"].queues == {}
    both = TalliesSum([page.tallies, page.tallies]).read()["shop.pay"]
    assert both.queues == {"default": default.plus(default), "mail": mail.plus(mail)}
    assert both == found["shop.pay"].plus(found["shop.pay"])


def test_queues_are_bounded() -> None:
    """Whoever enqueues may name any queue, and any text may stand in a message."""
    tallies = table()
    for number in range(MAX_ROWS * 2):
        tallies.add("shop.pay", Kind.SUCCESS, queue=f"q{number}")
    tallies.add("shop.ship", Kind.SUCCESS, queue="\udce9" * 70)

    found = tallies.read()
    assert found.keys() == {"shop.pay", OTHER}
    assert len(found["shop.pay"].queues) == MAX_ROWS
    assert found[OTHER] == TaskCounts(runs={"success": MAX_ROWS + 1}, left=MAX_ROWS + 1)
    assert TalliesSum([tallies, tallies]).read() == {name: one.plus(one) for name, one in found.items()}


@pytest.mark.parametrize("name", ["x" * 500, "é" * 200, "", "shop.\udce9"])
def test_any_name_is_counted(name: str) -> None:
    """A long one is cut, where a character ends."""
    tallies = table()
    tallies.add(name, Kind.SUCCESS)
    tallies.add(name, Kind.SUCCESS)

    ((found, counts),) = tallies.read().items()
    assert counts.runs == {"success": 2}
    assert len(found.encode()) <= 128
    assert found == "(none)" or name.startswith(found.replace("?", "\udce9"))


def test_long_names_that_begin_alike_are_counted_together() -> None:
    """Their rows would have the same name."""
    tallies = table()
    tallies.add("x" * 300 + "a", Kind.SUCCESS)
    tallies.add("x" * 300 + "b", Kind.SUCCESS)

    assert [one.runs for one in tallies.read().values()] == [{"success": 2}]


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    """The time of a task is the difference of what a clock showed."""
    tallies = table()
    tallies.add("shop.pay", Kind.SUCCESS, seconds=2.0)
    tallies.add("shop.pay", Kind.SUCCESS, seconds=-3600.0)

    assert tallies.read()["shop.pay"].seconds == 2.0


@pytest.mark.parametrize("seconds", [1e10, 1e30, float("inf"), float("nan")])
def test_a_clock_that_jumps_stops_no_worker(seconds: float) -> None:
    """A word has 63 bits, and what does not fit must not end the process that counts."""
    tallies = table()
    for _ in range(30):
        tallies.add("shop.pay", Kind.SUCCESS, seconds=seconds)
        tallies.add("shop.pay", Kind.SUCCESS, seconds=9e8)

    found = tallies.read()["shop.pay"]
    assert found.runs == {"success": 60}
    assert 9e9 < found.seconds < 1e10


def test_a_cluster_adds_up_its_workers() -> None:
    """Names that were there stay, so that no count shrinks."""
    first, second = table(), table()
    both = TalliesSum([first, second])
    first.add("shop.pay", Kind.SUCCESS, 2, seconds=1.0)
    second.add("shop.pay", Kind.FAILURE, action=Action.RETRY)
    assert both.read() == {
        "shop.pay": TaskCounts(
            runs={"success": 2, "failure": 1}, left=2, retries=1, seconds=1.0, success_times=(2,)
        )
    }

    for number in range(MAX_NAMES):
        first.add(f"first{number}", Kind.SUCCESS)
        second.add(f"second{number}", Kind.SUCCESS)

    found = both.read()
    assert len(found) == MAX_NAMES + 1
    assert sum(sum(one.runs.values()) for one in found.values()) == 3 + 2 * MAX_NAMES
    assert both.read() == found


def test_runs_and_waits_are_placed_by_how_long_they_were() -> None:
    """What takes a millisecond or more is placed by itself; a run whose time is not known is not placed."""
    tallies = table()
    tallies.add("shop.pay", Kind.SUCCESS, 5, seconds=2.51, slow=[0.0025, 2.5], waited=0.003)
    tallies.add("shop.pay", Kind.SUCCESS, 2)
    tallies.add("shop.pay", Kind.TIMEOUT, seconds=1e6, slow=[1e6])

    found = tallies.read()["shop.pay"]
    assert found.success_times == (3, 0, 1, *[0] * 9, 1)
    assert found.failed_times == (*[0] * 23, 1)
    assert found.wait_times == (0, 0, 5)
    assert found.seconds == pytest.approx(1e6 + 2.51)
    assert found.failed_seconds == pytest.approx(1e6)
    assert found.waited_seconds == pytest.approx(0.015)
    both = found.plus(TaskCounts(success_times=(1,), wait_times=(0, 0, 0, 7)))
    assert (both.success_times[:3], both.wait_times) == ((4, 0, 1), (0, 0, 5, 7))


def test_waits_of_what_is_counted_already_are_added() -> None:
    """Tasks that run at once have waited for different times; what is not known is not placed."""
    tallies = table()
    tallies.add("shop.pay", Kind.SUCCESS, 6, seconds=0.001)
    tallies.add_waits("shop.pay", 0.003, 4)
    tallies.add_waits("shop.pay", 0.0001, 1)
    tallies.add_waits("shop.pay", 0.0, 1)

    found = tallies.read()["shop.pay"]
    assert found.runs == {"success": 6}
    assert found.wait_times == (1, 0, 4)
    assert found.waited_seconds == pytest.approx(0.0121)


@pytest.mark.parametrize("bound", TIME_BOUNDS)
def test_a_place_ends_before_its_bound(bound: float) -> None:
    """As the journal's buckets do; what is as long as a bound is in the next place."""
    number = TIME_BOUNDS.index(bound)

    assert place(bound * 0.9999999) == number
    assert place(bound * 1.0000001) == number + 1


def test_durations_name_what_their_buckets_end_before() -> None:
    """Each is at most the bound of its place, and longer than the one before."""
    for nanoseconds in (1, 1023, 1024, 1535, 1536, 2048, 10**6, 10**9 + 7, 3600 * 10**9):
        place = bucket(nanoseconds)
        assert nanoseconds / 1e9 < longest(place)
        assert place == 0 or nanoseconds / 1e9 >= longest(place - 1)
        assert middle(place) < longest(place)

    counts = [0] * 80
    counts[bucket(10**6)] = 2
    counts[bucket(10**9)] = 1
    found = durations(counts)

    assert found.counts == (2, 1)
    assert found.bounds == (longest(bucket(10**6)), longest(bucket(10**9)))
    assert found.total == pytest.approx(1.002, rel=0.2)

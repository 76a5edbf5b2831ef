"""A worker reports progress, and how long tasks run and wait."""

from __future__ import annotations

import contextvars
import math
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import Progress, progress
from qcore.journal.commands import Pause
from qcore.journal.memory import Journal
from qcore.journal.progress import PAGE
from qcore.journal.records import HeldMessage
from qcore.journal.running import Running
from qcore_counts.metrics import bucket, middle, spread
from qcore_counts.rates import Rates
from qcore_process.memory import Memory, machine, usage_of
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.journal.pages import Page

#: seconds of hammering
HAMMER: Final = 0.5


@pytest.fixture
def page() -> Iterator[Page]:
    """Yield the page of a worker with two messages, the first of which runs."""
    journal = Journal.create(1)
    page = journal.page(0)
    page.write_batch(
        [HeldMessage(b"r", bytes(16), b"h", 1, 0, 0, 0), HeldMessage(b"s", b"s" * 16, b"h", 1, 0, 0, 0)], 0
    )
    page.begin(0, time.monotonic_ns(), 0)
    yield page
    journal.close()


def said(page: Page) -> Progress | None:
    """Return what is seen of the running task's progress."""
    seen = page.snapshot()
    return page.metrics.progress(seen.seq, seen.begun)


# -- progress ---------------------------------------------------------------------------------


def test_progress_belongs_to_the_task_that_reports_it(page: Page) -> None:
    """The next task has none until it reports it itself."""
    context = contextvars.copy_context()
    context.run(PAGE.set, page)
    assert said(page) is None

    context.run(progress, 3, 8, "three")
    assert said(page) == Progress(done=3.0, total=8.0, note="three")

    page.begin(1, 0, 0)
    assert said(page) is None
    context.run(progress, 0.5)
    assert said(page) == Progress(done=0.5)
    page.write_batch([HeldMessage(b"t", bytes(16), b"h", 1, 0, 0, 0)], 0)
    page.begin(0, 0, 0)
    assert said(page) is None
    context.run(progress, 1)
    page.reset()
    assert said(page) is None


def test_progress_outside_a_worker_is_not_an_error() -> None:
    """A task that is called as a function reports to nobody."""
    progress(1, 2, "nobody listens")


@pytest.mark.parametrize(("note", "seen"), [(5, "5"), (None, ""), (b"x", "b'x'")])
def test_a_note_that_is_not_text_fails_no_task(page: Page, note: Any, seen: str) -> None:
    """It is shown as text; None is not shown."""
    context = contextvars.copy_context()
    context.run(PAGE.set, page)

    context.run(progress, 1, 2, note)

    assert said(page) == Progress(done=1.0, total=2.0, note=seen)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (("half",), "done of progress must be a number, got 'half' of type str; give an int or a float"),
        ((None,), "done of progress must be a number, got None of type NoneType; give an int or a float"),
        ((1, None), "total of progress must be a number, got None of type NoneType; 0 is not known"),
        ((10**400,), "done of progress must be a number, got 1000"),
    ],
)
def test_progress_that_is_not_a_number_raises_and_writes_nothing(page: Page, told: Any, says: str) -> None:
    """This holds in a worker and outside of one, so that it is found where the task is tried."""
    context = contextvars.copy_context()
    with pytest.raises(TypeError) as outside:
        context.run(progress, *told)
    context.run(PAGE.set, page)
    context.run(progress, 5, 8)
    with pytest.raises(TypeError) as inside:
        context.run(progress, *told)

    assert str(inside.value) == str(outside.value)
    assert str(inside.value).startswith(says)
    assert said(page) == Progress(done=5.0, total=8.0)


@given(note=st.text(max_size=200))
def test_any_note_is_cut_to_120_characters(note: str) -> None:
    """This holds for all characters, however many bytes they take."""
    journal = Journal.create(1)
    page = journal.page(0)
    page.write_batch([HeldMessage(b"r", bytes(16), b"h", 1, 0, 0, 0)], 0)
    page.begin(0, 0, 0)

    page.metrics.advance(*page.position(), 1, 2, note)

    found = said(page)
    assert found
    assert found.note == note[:120].encode("utf-8", "replace").decode()
    journal.close()


@pytest.mark.parametrize("done", [math.nan, math.inf])
def test_progress_that_is_not_finite_is_not_shown(page: Page, done: float) -> None:
    """It could not be published."""
    page.metrics.advance(*page.position(), done, 1, "")

    assert said(page) is None


def _count(page: Page, tell: Callable[[str], None]) -> None:
    tell("ready")
    number = 0
    while True:
        number += 1
        page.metrics.advance(1, 1, number, number, str(number))


def test_progress_is_never_read_half_written() -> None:
    """The parts belong together, however fast they are written, and whoever is killed meanwhile."""
    journal = Journal.create(1)
    page = journal.page(0)
    good = 0
    with Child(lambda tell: _count(journal.page(0), tell)) as child:
        assert child.line() == "ready"
        end = time.monotonic() + HAMMER
        while time.monotonic() < end or not good:
            found = page.metrics.progress(1, 1)
            if found is not None:
                good += 1
                assert found.done == found.total == float(found.note)
        child.kill()
    page.metrics.advance(1, 1, 5, 6, "anew")

    assert page.metrics.progress(1, 1) == Progress(done=5.0, total=6.0, note="anew")
    journal.close()


# -- how long things take ---------------------------------------------------------------------


@given(st.integers(-5, 1 << 60))
def test_a_bucket_stands_for_a_duration_near_those_in_it(nanoseconds: int) -> None:
    """It is within a quarter, from a microsecond to thirteen days."""
    taken = middle(bucket(nanoseconds)) * 1e9

    if 1024 <= nanoseconds < 1 << 50:
        assert 0.75 < taken / nanoseconds < 1.25
    else:
        assert 1000 < taken < 1 << 50


def test_percentiles_are_of_tasks_not_of_batches() -> None:
    """Half of the tasks stayed below one, 99 of 100 below the other."""
    journal = Journal.create(1)
    gauges = journal.page(0).metrics
    gauges.ran(990, 1_000_000)
    gauges.ran(9, 1_000_000_000)
    gauges.ran(1, 100_000_000_000)

    found = spread(gauges.runs())

    assert found
    assert found.p50 == pytest.approx(0.001, rel=0.25)
    assert found.p99 == pytest.approx(0.001, rel=0.25)
    gauges.ran(1000, 1_000_000_000)
    found = spread(gauges.runs())
    assert found
    assert found.p50 == pytest.approx(1.0, rel=0.25)
    assert spread(gauges.waits()) is None
    journal.close()


def test_a_worker_is_told_how_long_tasks_took_in_its_slot() -> None:
    """It is near the average of all runs since the cluster began; 0 says that none is known."""
    journal = Journal.create(1)
    gauges = journal.page(0).metrics
    assert gauges.usual_run() == 0.0

    gauges.ran(3, 100_000_000)
    gauges.ran(1, 500_000_000)

    assert gauges.usual_run() == pytest.approx(0.2, rel=0.25)
    journal.close()


def test_the_rates_are_those_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier tasks do not count; counts continue when a slot gets its next worker."""
    clock = [1000.0]
    monkeypatch.setattr("qcore_counts.rates.time.monotonic", lambda: clock[0])
    journal = Journal.create(2)
    pages = [journal.page(0), journal.page(1)]
    rates = Rates(pages)

    pages[0].metrics.ran(1000, 2_000_000)
    clock[0] += 10
    assert rates.now(1000).rate == 100.0
    pages[0].reset()
    for _ in range(30):
        clock[0] += 3
        pages[1].metrics.ran(30, 500_000_000)
        pages[1].metrics.waited(30, 5_000_000)
        pace = rates.now(1000)
    assert (pace.rate, bool(pace.run_time), bool(pace.wait_time)) == (0.0, True, True)
    assert pace.run_time
    assert pace.run_time.p50 == pytest.approx(0.5, rel=0.25)
    for _ in range(40):
        clock[0] += 3
        pace = rates.now(1000)
    assert (pace.run_time, pace.wait_time) == (None, None)
    journal.close()


# -- what else is seen ------------------------------------------------------------------------


def test_the_running_message_is_read_once_it_has_run_for_a_while(page: Page) -> None:
    """It is read from the page once, and never confused with another."""
    running = Running(page)

    assert running.message(page.snapshot(), 60.0) is None
    held = running.message(page.snapshot(), 0.0)
    assert held
    assert held.receipt == b"r"
    assert running.message(page.snapshot(), 0.0) is held
    page.begin(1, time.monotonic_ns(), 0)
    held = running.message(page.snapshot(), 0.0)
    assert held
    assert held.receipt == b"s"
    late = page.snapshot()
    page.end(2, 2)
    assert running.message(page.snapshot(), 0.0) is None
    page.write_batch([HeldMessage(b"t", bytes(16), b"h", 1, 0, 0, 0)], 0)
    assert Running(page).message(late, 0.0) is None


def test_commands_reach_only_the_task_they_are_meant_for(page: Page) -> None:
    """A late one ends no other task; a pause is for any worker of the slot."""
    page.commands.cancel(*page.position())
    assert page.commands.cancelled(*page.position())
    page.begin(1, 0, 0)
    assert not page.commands.cancelled(*page.position())

    page.commands.pause(Pause.YES)
    page.commands.renew(5)
    page.reset()

    assert (page.commands.paused, page.commands.renewed) == (Pause.YES, 0)
    assert not page.commands.cancelled(*page.position())


def test_memory_is_measured_seldom() -> None:
    """Two measurements in a row are one; a process that has ended has none."""

    def live(tell: Callable[[str], None]) -> None:
        tell("up")
        time.sleep(60)

    with Child(live) as child:
        assert child.line() == "up"
        memory = Memory()
        memory.measure([child.pid, 0])
        seen = usage_of(child.pid)
        assert 0 < seen.pss <= seen.rss <= seen.peak
    memory.measure([])

    assert memory._usage[child.pid].rss > 0
    assert usage_of(child.pid).rss == 0
    total, available = machine()
    assert 0 < available < total

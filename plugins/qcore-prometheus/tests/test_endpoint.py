"""Clusters that serve metrics, from task to scrape."""

from __future__ import annotations

import socket
import time
import urllib.error
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from .conftest import KEY, Page, scrape

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import App, Cluster

#: seconds something is waited for; the machine may be busy
TIMEOUT = 100.0


def until(found: Callable[[], Any], what: str) -> Any:
    """Return what `found` returns as soon as it is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (value := found()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return value


def test_a_scrape_shows_queue_tasks_and_workers(
    running: Callable[..., tuple[App, Cluster]], address: str
) -> None:
    """Added up over the workers, the dead ones too; no key and no argument is on the page."""
    app, _ = running(prometheus={"address": address}, max_attempts=2, max_crashes=1, retry=0.1, recycle=7)
    jobs = app.enqueue_many([app.task("counted_tasks.add").bind(n, 4711_4711) for n in range(20)])
    # The last by itself: of the batch in which a worker dies, runs are not measured.
    for job in [*jobs, app.enqueue("counted_tasks.fail")]:
        assert job.fetch(TIMEOUT) is not None
    assert app.enqueue("counted_tasks.fall").fetch(TIMEOUT) is not None
    app.task("counted_tasks.add").using(delay=600.0).enqueue(1, 1)

    def counted() -> Page | None:
        page = scrape(address)
        ends = {
            ("add", "success"): 20.0,
            ("add", "failure"): 0.0,
            ("fail", "failure"): 2.0,
            ("fall", "crash"): 1.0,
        }
        found = {
            (task, end): page.value("qcore_task_runs_total", task=f"counted_tasks.{task}", outcome=end)
            for task, end in ends
        }
        return page if found == ends else None

    page = until(counted, "every end to be counted")
    labels = {"cluster": "shop", "label": "blue", "host": socket.gethostname()}
    assert page.value("qcore_tasks_started_total", **labels) == 23
    assert page.value("qcore_task_retries_total", task="counted_tasks.fail") == 1
    assert page.value("qcore_task_dead_letters_total", **labels) == 2
    assert page.value("qcore_workers_replaced_total", cause="crashed") == 1
    assert page.value("qcore_run_seconds_count", **labels) == 22
    assert page.value("qcore_run_seconds_bucket", le="+Inf") == 22
    assert page.value("qcore_wait_seconds_count") >= 20
    assert page.value("qcore_queue_messages", cluster="shop", queue="default", state="delayed") == 1
    assert page.value("qcore_dead_letters") == 2
    assert page.value("qcore_queue_up") == 1
    assert page.value("qcore_schedules_overdue") == 0
    assert page.value("qcore_workers") == 2
    assert "47114711" not in page.text
    assert KEY not in page.text


def test_a_queue_that_nobody_works_on_shows_its_age(
    running: Callable[..., tuple[App, Cluster]], address: str
) -> None:
    """Of the oldest message that is ready; what was to wait does not count."""
    app, _ = running(prometheus={"address": address})
    app.queue.pause()
    until(lambda: scrape(address).value("qcore_cluster_paused") == 1, "the pause to be seen")
    assert scrape(address).value("qcore_queue_oldest_seconds") <= 0

    app.enqueue("counted_tasks.add", 1, 1)
    first = until(lambda: max(0, scrape(address).value("qcore_queue_oldest_seconds")), "an age")
    until(lambda: scrape(address).value("qcore_queue_oldest_seconds") > first, "it to grow")

    app.queue.resume()
    until(lambda: scrape(address).value("qcore_queue_oldest_seconds") == 0, "no message to be ready")


def test_a_schedule_that_does_not_fire_is_overdue(
    running: Callable[..., tuple[App, Cluster]], address: str
) -> None:
    """It is seen from outside of the thread that should fire it."""
    app, _ = running(prometheus={"address": address}, scheduler=False)
    app.schedules.create("counted_tasks.add", 1, 1, name="late", type="hourly", next_run=time.time() - 60)

    until(lambda: scrape(address).value("qcore_schedules_overdue") == 1, "the schedule to be overdue")


def test_a_stopped_cluster_gives_the_address_up(
    running: Callable[..., tuple[App, Cluster]], address: str
) -> None:
    """The next cluster can have it."""
    _, cluster = running(prometheus={"address": address})
    assert scrape(address).value("qcore_queue_up") == 1
    cluster.stop()

    with pytest.raises(urllib.error.URLError):
        scrape(address)
    running(prometheus={"address": address})
    assert scrape(address).value("qcore_queue_up") == 1


@pytest.mark.parametrize("taken", [True, False], ids=["in use", "of another machine"])
def test_an_address_that_cannot_be_had_stops_no_cluster(
    running: Callable[..., tuple[App, Cluster]], taken: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """A warning says which, and tasks are run."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        wanted = f"127.0.0.1:{other.getsockname()[1]}" if taken else "192.0.2.1:9808"
        app, cluster = running(prometheus={"address": wanted})

        assert app.enqueue("counted_tasks.add", 1, 1).result(wait=TIMEOUT) == 2
        cluster.stop()

    said = capfd.readouterr().err
    assert f"cluster shop serves no metrics: it cannot listen on {wanted}: " in said
    assert "set prometheus.address to a free address" in said


def test_nothing_is_served_unless_it_is_configured(running: Callable[..., tuple[App, Cluster]]) -> None:
    """The package alone opens no port."""
    app, cluster = running()
    assert app.enqueue("counted_tasks.add", 1, 1).result(wait=TIMEOUT) == 2

    assert cluster.pid
    assert [one for one in psutil.Process(cluster.pid).net_connections("tcp") if one.status == "LISTEN"] == []

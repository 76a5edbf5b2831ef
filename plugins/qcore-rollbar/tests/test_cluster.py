"""Clusters that report to Rollbar, from task to item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore import App, Cluster, Job

    from .conftest import Rollbar

#: seconds a result is waited for; the machine may be busy
TIMEOUT = 100.0


def ended(job: Job) -> State:
    """Return how a task has ended."""
    result = job.fetch(TIMEOUT)
    assert result is not None
    return result.state


def test_a_cluster_sends_failures_and_what_its_supervisor_sees(
    running: Callable[..., tuple[App, Cluster]], service: Rollbar, tmp_path: Path
) -> None:
    """Configured as Django-Q's documentation shows, beside another reporter; no canary is sent."""
    app, cluster = running({}, timeout=0.5, max_crashes=1)

    assert ended(app.enqueue("rollbar_tasks.pay", "canary-card", pin="canary-pin")) == State.FAILED
    # the next one has this worker killed, and what it has not sent is lost with it
    service.until(lambda: len(service.items()) == 1)
    assert ended(app.enqueue("rollbar_tasks.hang", str(tmp_path / "hangs"))) == State.FAILED
    assert ended(app.enqueue("rollbar_tasks.fall")) == State.FAILED
    service.until(lambda: len(service.items()) == 3)
    cluster.stop()

    found = {item["context"]: item for item in service.items()}
    assert len(service.items()) == 3, "nothing was sent twice"
    pay = found["rollbar_tasks.pay"]
    assert pay["body"]["trace"]["exception"] == {"class": "ValueError", "message": "declined"}
    assert pay["custom"]["action"] == "dead_letter"
    assert found["rollbar_tasks.hang"]["body"]["trace"]["frames"][-1]["method"] == "hang"
    assert found["rollbar_tasks.fall"]["level"] == "critical"
    assert not service.canaries()


#: what a supervisor imports, because it has the class of the broker; a job of it fails from then on
BROKEN = """
from qcore.supervision.control_poll import ControlPoller
from qcore_sqlite.broker import SqliteBroker as Broker


def poll(self, coordination):
    raise RuntimeError("no order is read")


ControlPoller.poll = poll
"""


def test_an_error_of_the_supervisor_is_an_item(
    running: Callable[..., tuple[App, Cluster]], service: Rollbar, tmp_path: Path
) -> None:
    """With its stack, and of no task; the supervisor goes on."""
    (tmp_path / "broken_supervisor.py").write_text(BROKEN)
    path = {"path": str(tmp_path / "queue.db")}
    app, cluster = running({}, broker_class="broken_supervisor.Broker", sqlite=path)

    service.until(service.items, "an item of the supervisor")
    assert ended(app.enqueue("rollbar_tasks.ship")) == State.SUCCESS
    cluster.stop()

    (item,) = service.items()
    trace = item["body"]["trace"]
    assert trace["exception"] == {"class": "RuntimeError", "message": "no order is read"}
    assert trace["frames"][-1]["method"] == "poll"
    assert (item["level"], item["custom"]["kind"]) == ("critical", "supervisor")


def test_a_service_that_is_away_delays_no_task(
    running: Callable[..., tuple[App, Cluster]], service: Rollbar
) -> None:
    """All tasks end; what is lost is counted, and the other reporter gets all."""
    app, cluster = running({}, log_level="CRITICAL")
    service.close()

    jobs = [app.enqueue("rollbar_tasks.pay", "card") for _ in range(50)]

    assert {ended(job) for job in jobs} == {State.FAILED}
    service.until(lambda: (cluster.status().reports, cluster.status().reports_lost) == (50, 50))

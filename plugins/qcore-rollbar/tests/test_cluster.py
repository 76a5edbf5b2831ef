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


def test_a_service_that_is_away_delays_no_task(
    running: Callable[..., tuple[App, Cluster]], service: Rollbar
) -> None:
    """All tasks end; what is lost is counted, and the other reporter gets all."""
    app, cluster = running({}, log_level="CRITICAL")
    service.close()

    jobs = [app.enqueue("rollbar_tasks.pay", "card") for _ in range(50)]

    assert {ended(job) for job in jobs} == {State.FAILED}
    service.until(lambda: (cluster.status().reports, cluster.status().reports_lost) == (50, 50))

"""A cluster on each server, with killed servers and workers."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.chaos

#: seconds any one condition is given
TIMEOUT = 100.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return a server that may be killed."""
    return request.getfixturevalue(request.param)


@pytest.mark.early
def test_a_server_that_restarts_and_a_worker_that_dies_lose_nothing(server: Any, url: str) -> None:
    """Each accepted task has its result, whatever is killed meanwhile."""
    config = Config.from_dict(
        {
            "name": "q",
            "workers": 2,
            "retry": 2,
            "log_level": "CRITICAL",
            "save_limit": 0,
            "max_crashes": 0,
            "secret_key": "the key of these tests, not of anybody else",
            "sql": url,
        }
    )
    with contextlib.closing(App(config)) as app, Cluster(config).start() as cluster:
        jobs = [app.enqueue("math.sqrt", number * number) for number in range(50)]
        with server.away(), pytest.raises(BackendUnavailable):
            app.enqueue("math.sqrt", 1)
        workers = until(lambda: [one.pid for one in cluster.status().workers if one.pid], "workers")
        os.kill(workers[0], signal.SIGKILL)

        def accepted() -> Any:
            with contextlib.suppress(BackendUnavailable):
                return app.enqueue("math.sqrt", 2500)
            return None

        jobs.append(until(accepted, "the server"))

        assert [job.result(wait=TIMEOUT) for job in jobs] == [float(number) for number in range(51)]
        until(lambda: app.queue.size().ready == 0, "an empty queue")

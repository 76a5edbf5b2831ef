"""Whether a cluster runs good tasks beside bytes that nobody signed."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from qcore import App, Cluster, Config

if TYPE_CHECKING:
    from collections.abc import Callable

#: seconds for a loaded machine
_TIMEOUT = 60.0
_KEY = "a key of the tests of a plugin of qcore"


def check_tasks_run_beside_garbage(settings: dict[str, Any], put: Callable[[], int]) -> None:
    """Run ten tasks beside what `put` puts into the queue.

    - Each task succeeds.
    - The queue is empty in the end, so that nothing is leased again and again.
    - No worker is replaced.

    Args:
        settings: the keys of the configuration that lead to the backend, with the name of the queue.
        put: puts bytes into the queue as anybody may who reaches the backend; returns how many
            messages they are.

    """
    config = Config.from_dict({"workers": 2, "retry": 60, "secret_key": _KEY, **settings})
    with contextlib.closing(App(config)) as app:
        assert put() > 0
        jobs = [app.enqueue("math.sqrt", number * number) for number in range(10)]
        with Cluster(config).start() as cluster:
            results = [job.result(wait=_TIMEOUT) for job in jobs]
            end = time.monotonic() + _TIMEOUT
            while (size := app.queue.size()).ready and time.monotonic() < end:
                time.sleep(0.02)
            replaced = sum(cluster.status().reincarnations.values())

    assert results == [float(number) for number in range(10)]
    assert size.ready == 0, f"{size.ready} messages that nobody signed are still ready"
    assert replaced == 0, f"{replaced} workers were replaced beside messages that nobody signed"

"""Whether a task that may run once is settled without its cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qcore import App, Cluster, Config, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import Job

_KEY: Final = "a key of the tests of clusters that die as a whole"
#: seconds any condition is waited for, on a loaded machine
_TIMEOUT: Final = 60.0


def begin(begun: str) -> None:
    """Write down that it begins, and do not end."""
    write(begun, "begun")
    time.sleep(3600)


def told(result: Result) -> None:
    """Write down how a task has ended, into the file of its label."""
    write(str(result.label), str(result.kind))


def check_a_dead_cluster_leaves_no_task_behind(settings: dict[str, Any], folder: Path) -> None:
    """Kill a whole cluster amid tasks that may run only once, and start two others.

    - What began has `interrupted` as its end, and does not run again.
    - What follows from that, its callback, follows once.
    - What had not begun runs, once, and nothing is left in the queue.

    Args:
        settings: the keys of the configuration that lead to the backend, with the name of the queue.
        folder: of this test's own, for what tasks write.

    """
    config = Config.from_dict({"workers": 1, "retry": 60, "secret_key": _KEY, **settings})
    begun, ended = folder / "begun", folder / "ended"
    with contextlib.closing(App(config)) as app:
        once = app.task(begin).using(at_most_once=True, hook=told, label=str(ended))
        job = once.enqueue(str(begun))
        clusters = [first := Cluster(config).start()]
        try:
            _until(lambda: _lines(begun), "the task to begin")
            later = app.task(write).using(at_most_once=True).enqueue(str(folder / "later"), "ran")
            os.kill(first.pid or 0, signal.SIGKILL)
            _until(lambda: first.status().state == "stopped", "the end of the cluster")
            _forget_its_flag(app, job)
            clusters += [Cluster(config).start() for _ in range(2)]
            _until(lambda: _end(app, job) == "interrupted", "the interrupted task to be settled")
            _until(lambda: _lines(ended), "its callback")
            assert later.fetch(wait=_TIMEOUT)
            _until(lambda: not any(_waiting(app)), "the queue to be empty")
        finally:
            for one in clusters:
                one.stop(timeout=0)
        assert _lines(begun) == ["begun"], f"it began {len(_lines(begun))} times"
        assert _lines(ended) == ["interrupted"], f"its callback was told {_lines(ended)}"
        assert _lines(folder / "later") == ["ran"], "a task that had not begun did not run once"


def _forget_its_flag(app: App, job: Job[Any]) -> None:
    """Have the cluster pass for dead now and not in a minute."""
    with app.runtime.stores.connection() as store, app.runtime.coordination_stores.connection() as shared:
        (record,) = store.get([bytes.fromhex(job.id)])
        assert record is not None, "that the task has begun is not stored"
        body = app.runtime.results.open(record.id, record.body)
        assert body.begun is not None, "what is stored does not say that the task has begun"
        shared.set_flag(body.begun.sign, b"", 1.0)


def _end(app: App, job: Job[Any]) -> str | None:
    """Return the stored end, and not what is read as long as none is stored."""
    with app.runtime.stores.connection() as store:
        (record,) = store.get([bytes.fromhex(job.id)])
    assert record is not None
    found = app.runtime.results.read(record)
    return None if found.begun else found.kind


def _waiting(app: App) -> tuple[int | None, ...]:
    size = app.queue.size()
    return size.ready, size.leased, size.delayed, size.dead_letters


def write(path: str, line: str) -> None:
    """Append a line to a file."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"still waiting after {_TIMEOUT:g} seconds for {what}"
        time.sleep(0.02)

"""Tasks that are cancelled, and tasks that say how far they are."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from qcore import App, Config, Retry, TaskCancelled, progress
from tests.integration.tasks import hold, note

#: never used as a producer
app = App(Config.from_dict({"name": "declared", "sqlite": {"path": ":memory:"}, "secret_key": "k" * 40}))


def spin(path: str) -> None:
    """Run Python for ever."""
    note(path)
    while True:
        pass


def clean_up(path: str) -> None:
    """Hang, and tidy up when cancelled."""
    note(path)
    try:
        time.sleep(60)
    except TaskCancelled:
        note(path, "cleaned up")
        raise


def object_(path: str) -> None:
    """Hang, and make another error of being cancelled."""
    note(path)
    try:
        time.sleep(60)
    except TaskCancelled as exc:
        raise ValueError("not like this") from exc


def insist(path: str) -> str:
    """Hang, and return although cancelled."""
    note(path)
    with contextlib.suppress(TaskCancelled):
        time.sleep(60)
    return "done all the same"


@app.task(retry=Retry(max_attempts=5, backoff=0.0))
def again(path: str) -> None:
    """Hang under a policy that retries everything."""
    note(path)
    time.sleep(60)


def step(gate: str, total: float) -> None:
    """Say how far it is, then wait for a file."""
    progress(1, total, "on the way")
    progress(2, total, "x" * 500)
    thread = threading.Thread(target=progress, args=(99,))
    thread.start()
    thread.join()
    hold(gate)


def tick(path: str) -> None:
    """Note when it ran, and take a moment."""
    note(path, f"{time.time()} {os.getpid()}")
    time.sleep(0.01)


def fail_at(started: str, gate: str) -> str:
    """Fail once a file is there; the second run succeeds once another is."""
    note(started)
    with open(started) as file:
        first = len(file.readlines()) == 1
    hold(gate if first else f"{gate}.second")
    if first:
        raise RuntimeError("by one that nobody waits for any more")
    return "by the one that took over"


def three_of_four(then: str, path: str) -> str:
    """Report progress, and end as asked."""
    progress(3, 4, "page 3")
    note(path)
    if then == "fail":
        raise ValueError(then)
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "hang":
        time.sleep(60)
    return then

"""Whether a cluster runs queues as it is told."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import qcore
from qcore import App, Cluster, Config
from qcore.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: seconds any one condition is given; the machine may be busy
_TIMEOUT: Final = 120.0
#: one above 0, one below it, and the default, as they are enqueued
_PRIORITIES: Final = (0, -5, 5)
_WEIGHTS: Final = {"reports": 2, "mail": 1}
#: messages of each queue with weights, and how many of the first runs are counted
_EACH: Final = 8
_COUNTED: Final = 9


def note(path: str) -> None:
    """Write down in which queue this task is, and its priority; the tasks of `check_queues_of_a_cluster`."""
    task = qcore.current()
    assert task is not None
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{task.queue} {task.priority}\n")


def check_queues_of_a_cluster(settings: Mapping[str, Any], folder: Path) -> None:
    """Run tasks of three queues by real clusters of one worker.

    - An earlier queue is empty before a later one begins, and each is run by priority.
    - A task knows its queue and its priority, and no other queue is touched.
    - What waits is shown with its queue and its priority, or it is said that it cannot be.
    - A paused queue waits until it is resumed, also if the cluster runs, and is listed as paused.
    - With weights, each queue has its proportion.

    Args:
        settings: the keys of the configuration that lead to the broker, with the queues `mail` and
            `reports` and priorities where they have to be declared.
        folder: empty, for results, the coordination store, and what tasks write.

    """
    config = {
        "name": f"cluster-{time.time_ns()}",
        "secret_key": "the key of these tests, not of anybody else",
        "workers": 1,
        "bulk": 1,
        "log_level": "WARNING",
        "preload": [__name__],
        "result_store": "sqlite",
        "coordination_store": "sqlite",
        "sqlite": {"path": str(folder / "local.db")},
        **settings,
    }
    app = App(Config.from_dict(config))
    try:
        _check_order(app, config, folder / "order")
        _check_weights(app, config, folder / "weights")
    finally:
        app.close()


def _check_order(app: App, config: dict[str, Any], path: Path) -> None:
    task = app.task(note)
    for queue in ("default", "mail"):
        app.enqueue_many(
            [task.using(queue=queue, priority=priority).bind(str(path)) for priority in _PRIORITIES]
        )
    task.using(queue="reports").enqueue(str(path))
    app.queue.pause("reports")
    by_priority = sorted(_PRIORITIES, reverse=True)
    _check_looks(app, by_priority)

    with _running(config | {"queues": ["reports", "mail", "default"]}):
        _until(lambda: len(_lines(path)) >= 2 * len(_PRIORITIES))
        queues = {one.name: one for one in app.queue.list()}
        assert (queues["reports"].ready, queues["reports"].paused) == (1, True)
        assert app.queue.is_paused("reports")
        assert not app.queue.is_paused("mail")
        app.queue.resume("reports")
        _until(lambda: len(_lines(path)) == 2 * len(_PRIORITIES) + 1)
        _check_pause(app, path.with_name("pause"))

    order = [f"{queue} {priority}" for queue in ("mail", "default") for priority in by_priority]
    assert _lines(path) == [*order, "reports 0"]
    assert not {one.name: one.paused for one in app.queue.list()}.get("reports")


def _check_looks(app: App, by_priority: list[int]) -> None:
    """Look at what waits: every task says its priority, though the broker knows three of them."""
    oldest = [one.oldest for one in app.queue.list()]
    with app.runtime.brokers.connection() as broker:
        shows = broker.waiting(1) is not None
    if not shows:
        with pytest.raises(NotSupported, match="cannot look at waiting tasks"):
            app.waiting()
        assert oldest == [None] * 3
        return
    found = app.waiting(9, queue="mail")
    assert [(one.queue, one.priority, one.fault) for one in found] == [
        ("mail", priority, "") for priority in by_priority
    ]
    assert all(one is not None and one >= 0 for one in oldest)


def _check_pause(app: App, path: Path) -> None:
    """Pause a queue while a cluster runs: at last a task of a later queue is run before one of it."""
    task, sent = app.task(note), 0
    app.queue.pause("mail")

    def left_out() -> bool:
        nonlocal sent
        task.using(queue="mail").enqueue(str(path))
        task.enqueue(str(path))
        sent += 1
        _until(lambda: _lines(path).count("default 0") == sent)
        return _lines(path).count("mail 0") < sent

    _until(left_out)
    app.queue.resume("mail")
    _until(lambda: _lines(path).count("mail 0") == sent)


def _check_weights(app: App, config: dict[str, Any], path: Path) -> None:
    task = app.task(note)
    for queue in (*_WEIGHTS, "default"):
        app.enqueue_many([task.using(queue=queue).bind(str(path)) for _ in range(_EACH)])

    with _running(config | {"queues": _WEIGHTS}):
        _until(lambda: len(_lines(path)) == _EACH * len(_WEIGHTS))

    first = [line.partition(" ")[0] for line in _lines(path)[:_COUNTED]]
    expected = _COUNTED * _WEIGHTS["reports"] / sum(_WEIGHTS.values())
    # where the turn begins is random
    assert abs(first.count("reports") - expected) <= 1, first
    # an acknowledgement may be on its way
    left = [("default", _EACH, 0)]
    _until(lambda: [(one.name, one.ready, one.leased or 0) for one in app.queue.list()] == left)


@contextmanager
def _running(config: dict[str, Any]) -> Iterator[None]:
    cluster = Cluster(Config.from_dict(config))
    cluster.start()
    try:
        yield
    finally:
        cluster.stop(timeout=10)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)

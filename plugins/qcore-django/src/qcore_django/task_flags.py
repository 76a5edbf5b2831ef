"""What is kept of Django's tasks until they have results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import EnvelopeError

if TYPE_CHECKING:
    from qcore import App
    from qcore.hookspecs import SettledEvent
    from qcore.tasks.current import CurrentTask

#: how the names of these tasks begin
PREFIX: Final = "qcore_django.backend.runs."
#: Seconds for which it is kept that a task waits, and which errors it has raised: 30 days.
_KEPT: Final = 30 * 86400.0


class TaskFlag(msgspec.Struct, array_like=True, frozen=True):
    """One task that was enqueued."""

    #: dotted name
    path: str
    #: Django's name of the queue
    queue: str
    #: ISO 8601; empty = at once
    run_after: str = ""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: epoch seconds
    enqueued: float = 0.0


def write_flag(app: App, id: str, flag: TaskFlag) -> None:
    """Keep that a task was enqueued."""
    _write(app, f"django:{id}", msgspec.json.encode(flag))


def read_flag(app: App, id: str) -> TaskFlag | None:
    """Return what was enqueued by an id, None if nothing was or it has ended."""
    found = _read(app, f"django:{id}")
    return None if found is None else msgspec.json.decode(found, type=TaskFlag)


def note_failure(app: App, me: CurrentTask, path: str, text: str) -> None:
    """Keep what a run has raised, after what the runs before raised."""
    there = app.for_cluster(me.cluster)
    before = failed_runs(there, me.id)
    _write(there, f"django-errors:{me.id}", msgspec.json.encode([*before, (path, text)]))


def failed_runs(app: App, id: str) -> list[tuple[str, str]]:
    """Return what each run has raised: dotted name and traceback."""
    found = _read(app, f"django-errors:{id}")
    return [] if found is None else msgspec.json.decode(found, type=list[tuple[str, str]])


def forget(app: App, event: SettledEvent, queue: str) -> None:
    """Forget that a task waits: it has a result, or is a dead letter."""
    if event.name.startswith(PREFIX) and event.action == "ack":
        with app.for_cluster(queue).runtime.coordination_stores.connection() as store:
            store.set_flag(f"django:{event.task_id}", b"", 1.0)


def _write(app: App, key: str, data: bytes) -> None:
    runtime = app.runtime
    with runtime.coordination_stores.connection(create=True) as store:
        store.set_flag(key, runtime.control_sealer.seal(key.encode(), data), _KEPT)


def _read(app: App, key: str) -> bytes | None:
    runtime = app.runtime
    with runtime.coordination_stores.connection(create=True) as store:
        found = store.get_flags([key])[0]
    if found is None:
        return None
    try:
        return runtime.control_sealer.open(key.encode(), found)
    except EnvelopeError:
        # Not written by this site, so it says nothing of its tasks.
        return None

"""What is kept of Django's tasks until they have results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import EnvelopeError
from qcore_queues.names import DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore import App
    from qcore.hookspecs import SettledEvent
    from qcore.messages.sealer import Sealer
    from qcore.tasks.current import CurrentTask

#: how the names of these tasks begin
PREFIX: Final = "qcore_django.backend.runs."
#: Seconds for which it is kept that a task waits, what was chosen for it, and what its runs raised: 30 days.
_KEPT: Final = 30 * 86400.0


class TaskFlag(msgspec.Struct, array_like=True, frozen=True):
    """One task that was enqueued."""

    #: dotted name
    path: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: epoch seconds
    enqueued: float = 0.0


class Using(msgspec.Struct, array_like=True, frozen=True):
    """What `Task.using` has chosen for one task."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    #: ISO 8601; empty = at once
    run_after: str = ""


class FailedRun(msgspec.Struct, array_like=True, frozen=True):
    """What one run has raised."""

    #: dotted name of the exception, and traceback
    path: str
    text: str
    #: when the run began, epoch seconds; 0 = by an earlier version, which kept none
    started: float = 0.0


#: what most tasks have, so that it is not kept
PLAIN: Final = Using()


def write_flags(app: App, id: str, using: Using, flag: TaskFlag | None) -> None:
    """Keep that a task was enqueued, unless it has ended, and what was chosen for it."""
    made: dict[str, bytes] = {}
    if using != PLAIN:
        made[f"django-using:{id}"] = msgspec.json.encode(using)
    if flag is not None:
        made[f"django:{id}"] = msgspec.json.encode(flag)
    if made:
        _write(app, made)


def read_flags(app: App, id: str) -> tuple[TaskFlag | None, Using]:
    """Return what was enqueued by an id, None if nothing was or it has ended, and what was chosen for it."""
    flag, using = _read(app, f"django:{id}", f"django-using:{id}")
    return (
        None if flag is None else msgspec.json.decode(flag, type=TaskFlag),
        PLAIN if using is None else msgspec.json.decode(using, type=Using),
    )


def note_failure(app: App, me: CurrentTask, run: FailedRun) -> None:
    """Keep what a run has raised, after what the runs before raised."""
    there = app.for_cluster(me.cluster)
    _write(there, {f"django-errors:{me.id}": msgspec.json.encode([*failed_runs(there, me.id), run])})


def failed_runs(app: App, id: str) -> list[FailedRun]:
    """Return what each run has raised, in their order."""
    (found,) = _read(app, f"django-errors:{id}")
    return [] if found is None else msgspec.json.decode(found, type=list[FailedRun])


def forget(app: App, event: SettledEvent, queue: str) -> None:
    """Forget that a task waits: it has a result, or is a dead letter."""
    if event.name.startswith(PREFIX) and event.action == "ack":
        with app.for_cluster(queue).runtime.coordination_stores.connection() as store:
            store.set_flag(f"django:{event.task_id}", b"", 1.0)


def _write(app: App, made: Mapping[str, bytes]) -> None:
    runtime = app.runtime
    with runtime.coordination_stores.connection(create=True) as store:
        for key, data in made.items():
            store.set_flag(key, runtime.control_sealer.seal(key.encode(), data), _KEPT)


def _read(app: App, *keys: str) -> list[bytes | None]:
    runtime = app.runtime
    with runtime.coordination_stores.connection(create=True) as store:
        found = store.get_flags(keys)
    return [
        None if one is None else _opened(runtime.control_sealer, key, one)
        for key, one in zip(keys, found, strict=True)
    ]


def _opened(sealer: Sealer, key: str, data: bytes) -> bytes | None:
    try:
        return sealer.open(key.encode(), data)
    except EnvelopeError:
        # Not written by this site, so it says nothing of its tasks.
        return None

"""Decides what a message in the old queue becomes."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from qcore.errors import BackendUnavailable, QcoreError
from qcore.flows.builder import FlowBuilder
from qcore.model import Outgoing
from qcore.tasks.arguments import dump_arguments
from qcore.tasks.task import bind
from qcore_django.models.fields import seconds_of
from qcore_django.moving import pickled
from qcore_django.moving.report import Report
from qcore_django.moving.tables import OldMessage, OldTask, Table, title_of
from qcore_django.shared import app
from qcore_django.tasks.options import ALL_LINKS, link_of, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from qcore.runtime import Runtime
    from qcore_django.moving.tables import Row

#: options that a message of Django-Q has beside its arguments
_OPTIONS: Final = frozenset({"hook", "group", "save", "cached", "ack_failure", "timeout"})
#: what says that a task cannot be one of qcore's
_REFUSALS: Final = (pickled.UnreadableError, QcoreError, TypeError, ValueError)


class Leases:
    """Knows which messages a cluster of Django-Q has leased, by their column `lock`.

    Since version 1.5 of django-q2 it has the end of a lease, or the time of the enqueuing. Before, as in the
    original, it has the begin of a lease, or the time of the enqueuing less `retry`.
    """

    def __init__(self, alias: str) -> None:
        self._retry = timedelta(seconds=app.config.retry)
        # The table of tasks got this column shortly after the change.
        self._has_ends = Table(OldTask, alias).has("cluster")

    def end_of(self, row: Row) -> datetime | None:
        """Return when the lease of a message ends; None if it is not leased."""
        if row["lock"] is None:
            return None
        end: datetime = row["lock"] if self._has_ends else row["lock"] + self._retry
        return end if end > timezone.now() else None

    def mark(self) -> datetime:
        """Return what is written to lease a message."""
        return timezone.now() + self._retry if self._has_ends else timezone.now()


def waiting(alias: str) -> int:
    """Return how many messages the old queue has."""
    return Table(OldMessage, alias).count()


def move_messages(alias: str, *, name: str, own: str, dry_run: bool) -> Report:
    """Enqueue what the old queue of a database has, and delete it there, one by one.

    A message that a cluster has leased is left: it may be running.

    Args:
        alias: of the database.
        name: that `Q_CLUSTER` had when they were enqueued.
        own: what messages for the site's main queue are found by.
        dry_run: only look.

    """
    report, table, leases = Report("queue"), Table(OldMessage, alias), Leases(alias)
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    for row in table.rows():
        if end := leases.end_of(row):
            report.problems.append(
                f"message {title_of(row)}: a cluster of Django-Q has it until {end:%Y-%m-%d %H:%M:%S}"
            )
            continue
        there = app if row["key"] == own else app.for_cluster(row["key"])
        try:
            task = pickled.message(row["payload"], name, keys)
            made = _made(there.runtime, task)
        except BackendUnavailable:
            raise
        except _REFUSALS as exc:
            report.problems.append(f"message {title_of(row)}: {exc}")
            continue
        if not dry_run and not _move(there.runtime, made, table, row, leases):
            report.problems.append(f"message {title_of(row)}: a cluster of Django-Q has taken it meanwhile")
            continue
        report.moved += 1
    return report


def _move(runtime: Runtime, made: Outgoing, table: Table, row: Row, leases: Leases) -> bool:
    """Enqueue a message and delete the old one, in one transaction if both are in that database.

    It is leased before, as a cluster does; return whether nobody else has it.
    """
    with _together(runtime, table.alias), runtime.brokers.connection(create=True) as broker:
        if not table.change(row["id"], lock=leases.mark(), if_is={"lock": row["lock"]}):
            return False
        broker.enqueue([made])
        table.delete(row["id"])
    return True


@contextmanager
def _together(runtime: Runtime, alias: str) -> Iterator[None]:
    shared = runtime.config.broker == "orm" and runtime.config.raw.get("orm") == alias
    with transaction.atomic(using=alias) if shared else nullcontext():
        yield


def _made(runtime: Runtime, task: dict[str, Any]) -> Outgoing:
    """Return the message of a task.

    Its id is made from the old one, so that a message that is moved twice, because this process ended
    before the old one was deleted, has the same id.
    """
    if task.get("iter_count"):
        raise pickled.UnreadableError(
            "it is a part of an async_iter, whose other parts Django-Q has counted: let a cluster of Django-Q"
            " finish it"
        )
    given = {key: task[key] for key in _OPTIONS & task.keys()} | {"task_name": task.get("name")}
    call = bind(task["func"], tuple(task["args"]), task["kwargs"], options_of(given))
    created = int(1000 * seconds_of(task["started"])) if task.get("started") else 0
    id_ = created.to_bytes(6, "big") + hashlib.sha256(str(task["id"]).encode()).digest()[:10]
    if task.get("chain"):
        above = {key: value for key, value in task.items() if key in ALL_LINKS}
        calls = [call, *(link_of(step, above) for step in task["chain"])]
        (first,) = FlowBuilder(runtime, calls).chain(calls, id_, pipe_result=False)
        return first.message
    serializer = runtime.serializer
    body = runtime.envelope.seal(
        id_, call.head, dump_arguments(call, serializer), serializer.code, created, named=bool(call.kwargs)
    )
    return Outgoing(id_, body)

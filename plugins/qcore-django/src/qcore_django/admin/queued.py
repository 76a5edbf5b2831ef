"""The pages of messages: queued tasks and dead letters."""

# ruff: noqa: ANN401 - requests of Django's are of types that none knows

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django.contrib import admin
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil

from qcore.errors import ConfigError, EnvelopeError, QueueMissing
from qcore.messages.sealer import STATUS
from qcore.status import ClusterStatus
from qcore_django.admin.batches import in_batches
from qcore_django.admin.results import bar, brief, shown
from qcore_django.admin.stored import StoredAdmin, by_queue, short
from qcore_django.models import places
from qcore_django.models.fields import is_id, moment
from qcore_django.shared import app
from qcore_queues.names import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.status import WorkerStatus
    from qcore_django.models import DeadLetter, OrmQ
    from qcore_django.models.queued import Message

_decode = msgspec.json.Decoder(ClusterStatus).decode


def running_tasks(queue: str) -> dict[str, tuple[ClusterStatus, WorkerStatus]]:
    """Return what clusters say of the tasks that have been running for half a second, by their ids."""
    runtime = places.runtime_of(queue)
    found = {}
    with runtime.brokers.connection() as broker:
        bodies = broker.statuses()
    for body in bodies:
        try:
            cluster = _decode(runtime.status_sealer.open(STATUS, body))
        except (EnvelopeError, msgspec.MsgspecError):
            # of a cluster with another key, or of another version
            continue
        found.update({worker.task_id: (cluster, worker) for worker in cluster.workers if worker.task_id})
    return found


class MessageAdmin(StoredAdmin):
    """Messages; what they say is read of their bodies."""

    @admin.display(description="function")
    def function(self, message: Message) -> str:
        """Return the name of the function, or why it cannot be read."""
        return message.func() or f"({message.fault})"

    @admin.display(description="name")
    def title(self, message: Message) -> str:
        """Return the name of the task."""
        return message.name() or "-"

    @admin.display(description="group")
    def group_name(self, message: Message) -> str:
        """Return the result group."""
        return message.group() or "-"

    @admin.display(description="task id")
    def task_key(self, message: Message) -> str:
        """Return the id of the task."""
        return message.task_id()

    @admin.display(description="arguments")
    def positional(self, message: Message) -> str:
        """Return the positional arguments."""
        return shown(message.args())

    @admin.display(description="keyword arguments")
    def named(self, message: Message) -> str:
        """Return the keyword arguments."""
        return shown(message.kwargs())

    @admin.display(description="options")
    def options(self, message: Message) -> str:
        """Return the options of the task."""
        return shown(message.q_options() or None)


class OrmQAdmin(MessageAdmin):
    """The queue of the key `orm`."""

    queue_column = "key"
    list_display: ClassVar = [
        "title", "group_name", "function", "queue_name", "priority", "state", "locked", "deliveries",
    ]  # fmt: skip
    list_display_links: ClassVar = ["title"]
    # in the order of the index: a table of a million rows is not sorted for a page
    sortable_by: ClassVar = ()
    ordering: ClassVar = ["queue", "priority", "lock", "id"]
    actions: ClassVar[Sequence[str]] = ["run_now", "cancel", "delete_selected"]
    fields: ClassVar = [
        "key", "queue_name", "priority", "state", "lock", "task_key", "title", "group_name", "function",
        "positional", "named", "options", "deliveries", "failures", "crashes",
    ]  # fmt: skip

    def has_module_permission(self, request: Any) -> bool:
        """Return whether it is listed: with another broker there is nothing in it."""
        try:
            return places.queue_alias() is not None and super().has_module_permission(request)
        except ConfigError:
            # the page itself says what is wrong
            return bool(super().has_module_permission(request))

    def prepare(self, rows: Sequence[Any]) -> None:
        """Read which of them run, once for all of them."""
        for queue, some in by_queue([one for one in rows if one.token is not None], "key").items():
            running = running_tasks(queue)
            for one in some:
                one.running = running.get(one.task_id())

    def get_object(self, request: Any, object_id: str, from_field: Any = None) -> Any:
        """Return one message, with what its cluster says of it."""
        found = super().get_object(request, object_id, from_field)
        self.prepare([] if found is None else [found])
        return found

    @admin.display(description="queue")
    def queue_name(self, message: OrmQ) -> str:
        """Return the queue of the cluster that it is in."""
        return named(message.queue)

    @admin.display(description="locked until")
    def locked(self, message: OrmQ) -> str:
        """Return when it can be leased."""
        return short(message.lock)

    @admin.display(description="state")
    def state(self, message: OrmQ) -> str:
        """Return whether it waits, is delayed or runs, and how far it has come."""
        if getattr(message, "running", None) is not None:
            cluster, worker = message.running
            since = round(time.time() - cluster.published + worker.running_for)
            return format_html(
                "running for {} s on {} {}", since, f"{cluster.host}:{worker.pid}",
                "" if worker.progress is None else bar(worker.progress),
            )  # fmt: skip
        if message.lock <= moment(time.time()):
            return "ready" if message.token is None else "lease expired"
        return "leased by a worker" if message.token is not None else f"delayed, {timeuntil(message.lock)}"

    @admin.action(permissions=["act"], description="Run delayed tasks now")
    def run_now(self, request: Any, queryset: Any) -> Any:
        """Have delayed messages delivered now."""

        def act(some: Sequence[Any]) -> tuple[int, str]:
            now = moment(time.time())
            rows = self.model.objects.filter(pk__in=[one.pk for one in some], token=None, lock__gt=now)
            count = rows.update(lock=now)
            return count, "" if count == len(some) else "Tasks that are not delayed stay as they are."

        return in_batches(self, request, queryset, "made ready", act)

    @admin.action(permissions=["act"], description="Cancel selected tasks")
    def cancel(self, request: Any, queryset: Any) -> Any:
        """Cancel tasks: what waits is removed, what runs is interrupted."""

        def act(some: Sequence[Any]) -> tuple[int, str]:
            count = 0
            for queue, tasks in by_queue([one for one in some if not one.fault], "key").items():
                ids = [one.task_id() for one in tasks if is_id(one.task_id())]
                count += sum(app.for_cluster(queue).cancel_many(ids))
            return count, "" if count == len(some) else "Others have ended, or cannot be read: delete these."

        return in_batches(self, request, queryset, "cancelled", act)

    def delete_some(self, some: Sequence[Any]) -> int:
        """Remove messages, whatever is in them."""
        return self.model.objects.filter(pk__in=[one.pk for one in some]).delete()[0]


class DeadLetterAdmin(MessageAdmin):
    """Messages that are not delivered any more."""

    queue_column = "cluster"
    more_text = "newer than those that can be shown here: requeue or delete these, and the others follow."
    list_display: ClassVar = [
        "title", "group_name", "function", "dead_for", "failures", "crashes", "why",
    ]  # fmt: skip
    list_display_links: ClassVar = ["title"]
    sortable_by: ClassVar = ()
    ordering: ClassVar = ["-id"]
    search_fields: ClassVar = ["reason"]
    actions: ClassVar[Sequence[str]] = ["requeue", "delete_selected"]
    fields: ClassVar = [
        "cluster", "reason", "died", "task_key", "title", "group_name", "function", "positional", "named",
        "options", "failures", "crashes",
    ]  # fmt: skip

    @admin.display(description="reason")
    def why(self, letter: DeadLetter) -> str:
        """Return the beginning of the reason."""
        return brief(letter.reason)

    @admin.display(description="dead for")
    def dead_for(self, letter: DeadLetter) -> str:
        """Return for how long it has been dead."""
        return timesince(letter.died)

    @admin.action(permissions=["act"], description="Requeue selected dead letters")
    def requeue(self, request: Any, queryset: Any) -> Any:
        """Enqueue dead letters again; their attempts are counted from zero."""
        from qcore.cli.dead_letters import requeue_all  # noqa: PLC0415 - it is a command, with all it needs

        def act(some: Sequence[Any]) -> tuple[int, str]:
            count = 0
            for queue, letters in by_queue(some, "cluster").items():
                runtime = places.runtime_of(queue)
                with runtime.brokers.connection() as broker:
                    count += requeue_all(runtime, broker, [one.native for one in letters])
            return count, ""

        return in_batches(self, request, queryset, "requeued", act)

    def delete_some(self, some: Sequence[Any]) -> int:
        """Drop dead letters."""
        count = 0
        for queue, letters in by_queue(some, "cluster").items():
            try:
                with places.runtime_of(queue).brokers.connection() as broker:
                    count += broker.delete([one.id for one in letters])
            except QueueMissing:
                continue
        return count

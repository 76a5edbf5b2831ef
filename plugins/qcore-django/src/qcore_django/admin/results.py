"""The pages of results: successful and failed tasks."""

# ruff: noqa: ANN401 - requests of Django's are of types that none knows

from __future__ import annotations

import json
from pprint import pformat
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html

from qcore.errors import DecodeError, EnvelopeError
from qcore_django.admin.batches import in_batches
from qcore_django.admin.resubmit import resubmit
from qcore_django.admin.search import narrowed
from qcore_django.admin.stored import StoredAdmin, by_queue, short
from qcore_django.models import places
from qcore_django.models.fields import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_django.models import Task

#: characters of a value on a page, and of an error in a list
_SHOWN: Final = 20_000
_SHORT: Final = 100


def shown(value: Any) -> str:
    """Return a value as text for a page: JSON where it is, as Python writes it elsewhere."""
    if value is None:
        return "-"
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else ""
        except (TypeError, ValueError):
            text = ""
        text = text or pformat(value, width=100)
    cut = f"{text[:_SHOWN]}\n({len(text) - _SHOWN:,} more characters)" if len(text) > _SHOWN else text
    return format_html('<pre class="q-value">{}</pre>', cut)


def brief(text: str) -> str:
    """Return the beginning of a text, for a column."""
    cut = text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
    return format_html('<span class="q-brief">{}</span>', cut)


def sealed(task: Task, name: str) -> Any:
    """Return a sealed part of a result, or why it cannot be read."""
    try:
        return getattr(task, name)
    except (EnvelopeError, DecodeError) as exc:
        return f"({exc})"


class TaskAdmin(StoredAdmin):
    """The results of tasks."""

    queue_column = "cluster"
    more_text = "older than those that can be shown here; each is found by its id."
    list_display: ClassVar = ["title", "group_link", "func", "started_at", "stopped_at", "duration"]
    sortable_by: ClassVar = ["stopped_at"]
    list_filter: ClassVar = [("stopped", admin.DateFieldListFilter)]
    search_fields: ClassVar = ["name", "func", "group"]
    search_help_text = "Part of a name, a function or a group; or the id of a task"
    ordering: ClassVar = ["-stopped", "-id"]
    actions: ClassVar[Sequence[str]] = ["resubmit", "delete_selected"]
    fields: ClassVar = [
        "id", "title", "func", "group_link", "cluster", "started_at", "stopped_at", "duration", "attempts",
        "worker", "progress", "positional", "named", "outcome",
    ]  # fmt: skip

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> Any:
        """Return what is found; an id finds its task alone."""
        if is_id(search_term.strip()):
            return queryset.filter(pk=search_term.strip()), False
        return super().get_search_results(request, queryset, search_term)

    def narrowed(self, request: Any) -> str:
        """Return the address of a search that goes back no further than a server waits for."""
        return narrowed(self, request)

    def delete_some(self, some: Sequence[Any]) -> int:
        """Delete results."""
        count = 0
        for queue, tasks in by_queue(some, "cluster").items():
            with places.runtime_of(queue).stores.connection() as store:
                count += store.delete([bytes.fromhex(one.id) for one in tasks])
        return count

    @admin.action(permissions=["act"], description="Resubmit selected tasks to queue")
    def resubmit(self, request: Any, queryset: Any) -> Any:
        """Enqueue the calls of tasks once more."""
        return in_batches(self, request, queryset, "resubmitted", resubmit)

    # -- columns --------------------------------------------------------------------------------

    @admin.display(description="name")
    def title(self, task: Task) -> str:
        """Return the name, which is four words if none was given."""
        return str(task)

    @admin.display(description="group")
    def group_link(self, task: Task) -> str:
        """Return the group, and lead to its tasks."""
        if not task.group:
            return "-"
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return format_html('<a href="{}?{}">{}</a>', url, urlencode({"group": task.group}), task.group)

    @admin.display(description="started")
    def started_at(self, task: Task) -> str:
        """Return when it was enqueued."""
        return short(task.started)

    @admin.display(description="stopped", ordering="stopped")
    def stopped_at(self, task: Task) -> str:
        """Return when its last run ended."""
        return short(task.stopped)

    @admin.display(description="time taken")
    def duration(self, task: Task) -> str:
        """Return the time from its enqueuing to its end."""
        seconds = max(0.0, task.time_taken())
        if seconds < 120:
            return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"

    # -- what is sealed -------------------------------------------------------------------------

    @admin.display(description="attempts")
    def attempts(self, task: Task) -> Any:
        """Return how many runs there were."""
        return sealed(task, "attempt_count")

    @admin.display(description="worker")
    def worker(self, task: Task) -> str:
        """Return `host:pid` of the worker that ran it."""
        native = sealed(task, "native")
        return native if isinstance(native, str) else native.worker or "-"

    @admin.display(description="progress")
    def progress(self, task: Task) -> str:
        """Return the last that it has reported."""
        native = sealed(task, "native")
        return "-" if isinstance(native, str) else bar(native.progress)

    @admin.display(description="arguments")
    def positional(self, task: Task) -> str:
        """Return the positional arguments."""
        return shown(sealed(task, "args"))

    @admin.display(description="keyword arguments")
    def named(self, task: Task) -> str:
        """Return the keyword arguments."""
        return shown(sealed(task, "kwargs"))

    @admin.display(description="result")
    def outcome(self, task: Task) -> str:
        """Return what it returned, or its error with the traceback."""
        return shown(sealed(task, "result"))


class SuccessAdmin(TaskAdmin):
    """Successful tasks."""

    def get_queryset(self, request: Any) -> Any:
        """Return the rows without what only a single page shows."""
        found = super().get_queryset(request)
        return found.defer("body") if places.results_alias() is not None else found


class FailureAdmin(TaskAdmin):
    """Failed tasks; resubmitting one deletes its result, as in Django-Q."""

    list_display: ClassVar = [*TaskAdmin.list_display[:-1], "short_result"]

    @admin.display(description="error")
    def short_result(self, task: Task) -> str:
        """Return the beginning of the error."""
        native = sealed(task, "native")
        text = native if isinstance(native, str) else native.error
        return brief(text)

    @admin.action(permissions=["act"], description="Resubmit selected tasks to queue, and delete them here")
    def resubmit(self, request: Any, queryset: Any) -> Any:
        """Enqueue the calls of tasks once more, and delete their results."""
        return in_batches(self, request, queryset, "resubmitted", lambda some: resubmit(some, forget=True))


def bar(progress: Any) -> str:
    """Return what a task has reported, as a bar."""
    if progress is None:
        return "-"
    if not progress.total:
        return format_html("{} {}", f"{progress.done:g}", progress.note)
    text = f"{progress.done:g} of {progress.total:g}"
    return format_html(
        '<progress class="q-progress" max="{}" value="{}">{}</progress> {} {}',
        progress.total, progress.done, text, text, progress.note,
    )  # fmt: skip

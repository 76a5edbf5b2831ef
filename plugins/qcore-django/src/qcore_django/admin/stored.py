"""What the pages of all models have in common: reading, batches, errors."""

# ruff: noqa: ANN401 - requests, forms and responses of Django's are of types that none knows

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst

from qcore.errors import QcoreError
from qcore_django.admin.batches import in_batches, named
from qcore_django.admin.errors import explained, savepoint
from qcore_django.admin.filters import FILTERS
from qcore_django.admin.paging import BoundedPaginator, StoredChangeList
from qcore_django.models import places
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime


def guarded(view: Callable[..., Any]) -> Callable[..., Any]:
    """Have a view of the admin answer with one sentence if a store or the settings fail."""

    @wraps(view)
    def answer(self: StoredAdmin, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            with savepoint():
                response = view(self, request, *args, **kwargs)
                if isinstance(response, TemplateResponse):
                    # rows are read here at the latest
                    response.render()
                return response
        except (QcoreError, DatabaseError) as exc:
            return self.unavailable(request, explained(exc))

    return answer


class StoredAdmin(admin.ModelAdmin):
    """Shows objects of a store, and changes them in batches; nothing is added by hand."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 100
    list_max_show_all = 0
    actions: ClassVar[Sequence[str]] = ["delete_selected"]

    class Media:
        css: ClassVar = {"all": ["qcore_django/admin.css"]}

    def get_changelist(self, request: Any, **kwargs: Any) -> type[StoredChangeList]:
        """Return what reads the rows of a page."""
        del request, kwargs
        return StoredChangeList

    def prepare(self, rows: Sequence[Any]) -> None:
        """Read what the rows of a page need beside them."""

    def get_queryset(self, request: Any) -> Any:
        """Return all rows; of several queues those of the site's own, unless another is asked for."""
        found = super().get_queryset(request)
        column = self.queue_column
        if self._has_several() and not request.GET.get(column) and not _object_id(request):
            found = found.filter(**{column: app.config.name})
        return found

    #: the field with the name of the queue; empty = all are of one queue
    queue_column: ClassVar[str] = ""

    def _has_several(self) -> bool:
        return bool(self.queue_column) and len(places.queues()) > 1

    def get_list_display(self, request: Any) -> Sequence[Any]:
        """Return the columns; the queue is one if there are several."""
        columns = [*super().get_list_display(request)]
        if self._has_several():
            columns.insert(3, self.queue_column)
        return columns

    def get_list_filter(self, request: Any) -> Sequence[Any]:
        """Return the filters; the queue is one if there are several."""
        found = [*super().get_list_filter(request)]
        return [FILTERS[self.queue_column], *found] if self._has_several() else found

    # -- what may be done -----------------------------------------------------------------------

    def has_add_permission(self, request: Any) -> bool:
        """Return False: a program enqueues."""
        del request
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Return False: what is signed is not edited."""
        del request, obj
        return False

    def has_act_permission(self, request: Any) -> bool:
        """Return whether actions other than to delete are allowed."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Sequence[Any]:
        """Return all that is shown."""
        return self.get_fields(request, obj)

    # -- views ----------------------------------------------------------------------------------

    @guarded
    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        """Show a page of the list, and say what it cannot show."""
        if request.method == "GET" and (address := self.narrowed(request)):
            return HttpResponseRedirect(address)
        if request.method == "GET" and (more := self._left_out()):
            self.message_user(request, f"{more} {self.more_text}", messages.INFO)
        return super().changelist_view(request, extra_context)

    def narrowed(self, request: Any) -> str:
        """Return the address of a list that reads fewer rows, empty if this one does."""
        del request
        return ""

    #: where those are that a list cannot show, because its store is not a table
    more_text: ClassVar[str] = ""

    def _left_out(self) -> str:
        """Return how many objects no page leads to, by their queue; empty if there are none."""
        left = self.model.left_out() if self.more_text else {}
        said = [f"{named(self, count)} of {queue}" for queue, count in left.items()]
        return f"{', '.join(said)} {'is' if [*left.values()] == [1] else 'are'}" if said else ""

    @guarded
    def changeform_view(
        self, request: Any, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one object."""
        return super().changeform_view(request, object_id, form_url, extra_context)

    @guarded
    def delete_view(self, request: Any, object_id: Any, extra_context: Any = None) -> Any:
        """Ask whether to delete one object, and delete it."""
        return super().delete_view(request, object_id, extra_context)

    @guarded
    def history_view(self, request: Any, object_id: Any, extra_context: Any = None) -> Any:
        """Show who has changed one object in the admin."""
        return super().history_view(request, object_id, extra_context)

    def unavailable(self, request: Any, problem: str) -> TemplateResponse:
        """Return a page with one sentence."""
        context = {
            **self.admin_site.each_context(request),
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "opts": self.opts,
            "problem": problem,
        }
        page = TemplateResponse(request, "admin/qcore_django/unavailable.html", context, status=503)
        return page.render()

    # -- actions --------------------------------------------------------------------------------

    def sure(self, request: Any, queryset: Any, action: str, question: str) -> TemplateResponse | None:
        """Return a page that asks, None if the user has confirmed it there."""
        if request.POST.get("post"):
            return None
        across = request.POST.get("select_across") == "1"
        context = {
            **self.admin_site.each_context(request),
            "title": "Are you sure?",
            "opts": self.opts,
            "question": question,
            "is_across": across,
            "action": action,
            "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
            "shown": list(queryset[: 20 if across else self.list_per_page]),
        }
        return TemplateResponse(request, "admin/qcore_django/sure.html", context)

    @admin.action(permissions=["delete"], description="Delete selected %(verbose_name_plural)s")
    def delete_selected(self, request: Any, queryset: Any) -> Any:
        """Delete the chosen objects, after a question; a list of them all is nowhere."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        title = str(self.opts.verbose_name_plural).lower()
        page = self.sure(request, queryset, "delete_selected", f"Delete these {title} for good?")
        if page is None:
            return in_batches(self, request, queryset, "deleted", lambda some: (self.delete_some(some), ""))
        return page

    def delete_some(self, some: Sequence[Any]) -> int:
        """Delete objects; return how many there were."""
        return sum(one.delete()[0] for one in some)


def short(moment: datetime | None) -> str:
    """Return a time as columns show it, with its seconds."""
    if moment is None:
        return "-"
    here = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    text = here.strftime("%Y-%m-%d %H:%M:%S")
    return format_html('<span class="q-time">{}</span>', text)


def _object_id(request: Any) -> Any:
    """Return the key in the address of a page that is about one object."""
    match = request.resolver_match
    return None if match is None else match.kwargs.get("object_id")


def by_queue(some: Sequence[Any], column: str) -> dict[str, list[Any]]:
    """Return objects by the name of their queue."""
    found: dict[str, list[Any]] = {}
    for one in some:
        found.setdefault(getattr(one, column), []).append(one)
    return found

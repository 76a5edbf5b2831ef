"""Decides in which pieces an action of the admin is done."""

# ruff: noqa: ANN401 - requests and responses of Django's are of types that none knows

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from django.contrib import messages
from django.contrib.admin import helpers
from django.db import DatabaseError
from django.template.response import TemplateResponse

from qcore.errors import QcoreError
from qcore_django.admin.errors import explained
from qcore_django.models import places
from qcore_django.models.conditions import wanted
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

#: objects with which an action is done at once
BATCH: Final = 500
#: objects whose keys are read at once
KEYS: Final = 20_000
#: seconds after which a request ends, and the page asks for the rest: servers wait for half a minute
SPAN: Final = 10.0
#: reasons that are told
_WHYS: Final = 5


class Batch(Protocol):
    """Does something with some objects; returns with how many, and why not with the others."""

    def __call__(self, some: Sequence[Any], /) -> tuple[int, str]:
        """Do it."""


@attrs.define
class Progress:
    """How far an action has come, in the requests before and in this one."""

    #: with how many objects it was done
    count: int
    #: why not with others
    whys: list[str]
    #: the key of the object it was done with last; empty = none
    after: str
    #: what ended it, for good
    problem: str = ""

    @classmethod
    def of(cls, request: Any) -> Progress:
        """Return what the request before has left in the page."""
        count = str(request.POST.get("count", ""))
        return cls(
            int(count) if count.isdecimal() and len(count) < 20 else 0,
            request.POST.getlist("why")[:_WHYS],
            str(request.POST.get("after", "")),
        )

    def note(self, count: int, why: str) -> None:
        """Add what was done with a batch."""
        self.count += count
        if why and why not in self.whys and len(self.whys) < _WHYS:
            self.whys.append(why)


def in_batches(page: Any, request: Any, queryset: Any, done: str, act: Batch) -> TemplateResponse | None:
    """Do something with all chosen objects, in batches, and say with how many it was done.

    They are met in the order of their keys, so that none is met twice: what ends while an action runs
    has a later key.

    Args:
        page: the page of the admin.
        request: of the action.
        queryset: the chosen objects.
        done: what has become of them, such as `resubmitted`.
        act: does it with at most `BATCH` objects.

    Returns:
        a page that asks for the rest by itself, None if the action has ended.

    """
    progress = Progress.of(request)
    if not _done(page, queryset, act, progress):
        return _going_on(page, request, done, progress)
    count, whys, problem = progress.count, progress.whys, progress.problem
    if count or not (whys or problem):
        page.message_user(request, f"{named(page, count)} {done}.", messages.SUCCESS)
    for why in whys:
        page.message_user(request, why, messages.WARNING)
    if problem:
        page.message_user(request, f"{named(page, count)} {done}, the others not: {problem}", messages.ERROR)
    return None


def _done(page: Any, queryset: Any, act: Batch, progress: Progress) -> bool:
    """Do what can be done in one request; return whether nothing is left."""
    end = time.monotonic() + SPAN
    column = page.queue_column
    within = {} if not column else {f"{column}__in": wanted(queryset.query.where, column) or places.queues()}
    rows, chosen = page.model._default_manager, queryset.order_by("-pk")
    while True:
        rest = chosen.filter(pk__lt=progress.after) if progress.after else chosen
        keys = list(rest.values_list("pk", flat=True)[:KEYS])
        for start in range(0, len(keys), BATCH):
            if start and time.monotonic() > end:
                return False
            batch = keys[start : start + BATCH]
            try:
                progress.note(*act(list(rows.filter(pk__in=batch, **within))))
            except (QcoreError, DatabaseError) as exc:
                progress.problem = explained(exc)
                return True
            progress.after = str(batch[-1])
        if len(keys) < KEYS:
            return True
        if time.monotonic() > end:
            return False


def _going_on(page: Any, request: Any, done: str, progress: Progress) -> TemplateResponse:
    context = {
        **page.admin_site.each_context(request),
        "title": "Going on",
        "opts": page.opts,
        "so_far": f"{named(page, progress.count)} {done} so far.",
        "progress": progress,
        "action": request.POST.get("action"),
        "across": request.POST.get("select_across", "0"),
        "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
    }
    return TemplateResponse(request, "admin/qcore_django/going_on.html", context)


def named(page: Any, count: int) -> str:
    """Return a number of objects, with what they are called."""
    return counted(count, str(page.opts.verbose_name).lower())

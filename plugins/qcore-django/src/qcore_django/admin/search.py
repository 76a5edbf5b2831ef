"""Decides how far a search in results goes back."""

# ruff: noqa: ANN401 - requests of Django's are of types that none knows

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.html import format_html

from qcore.model import State
from qcore_django.models import places
from qcore_django.models.fields import is_id
from qcore_django.shared import app

if TYPE_CHECKING:
    from qcore_django.admin.results import TaskAdmin

#: results among which a part of a name is looked for: no index has it, and a table may have millions
SEARCHED: Final = 100_000
_STEP: Final = timedelta(milliseconds=1)
#: the parts of an address that say since when and until when
_SINCE: Final = "stopped__gte"
_UNTIL: Final = "stopped__lt"


def narrowed(page: TaskAdmin, request: Any) -> str:
    """Return the address of a search among the newest results, empty if it is that.

    The bound is a filter in the address, so that pages and actions have it too. Where there is one,
    the page has a link to the results before it.
    """
    term, alias = request.GET.get("q", "").strip(), places.results_alias()
    if not term or is_id(term) or alias is None:
        return ""
    # Without the condition of what has expired, which no index has.
    queue = request.GET.get(page.queue_column) or app.config.name
    found: Any = QuerySet(page.model, using=alias).filter(
        cluster=queue, success=page.model.STATES[0] is State.SUCCESS
    )
    given = {name: request.GET[name] for name in (_SINCE, _UNTIL) if name in request.GET}
    try:
        within = found.filter(**given).order_by("-stopped", "-id").values_list("stopped", flat=True)
        since = page.model._meta.get_field("stopped").to_python(given.get(_SINCE))
        first = next(iter(within[SEARCHED - 1 : SEARCHED]), None)
    except ValidationError:
        return ""  # the list says that it cannot be read
    if first is None:
        return ""
    if since is None or first - since >= _STEP:
        # A number of the table may be a little less than the time that is made of it.
        whole = first.replace(microsecond=first.microsecond // 1000 * 1000)
        return _address(request, {_SINCE: str(whole)}, ())
    if found.filter(**{_UNTIL: given[_SINCE]}).exists():
        before = _address(request, {_UNTIL: given[_SINCE]}, (_SINCE,))
        text = 'Searched were {} results; search <a href="{}">the {} before them</a>.'
        page.message_user(request, format_html(text, f"{SEARCHED:,}", before, f"{SEARCHED:,}"), messages.INFO)
    return ""


def _address(request: Any, more: dict[str, str], less: tuple[str, ...]) -> str:
    """Return the address of a list with other filters, from its first page on."""
    query = request.GET.copy()
    for name in ("p", *less):
        query.pop(name, None)
    for name, value in more.items():
        query[name] = value
    return f"?{query.urlencode()}"

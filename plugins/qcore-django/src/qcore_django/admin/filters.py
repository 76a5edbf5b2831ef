"""The filter by queue, where a site has several."""

# ruff: noqa: ANN401 - requests of Django's are of types that none knows

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from django.contrib import admin

from qcore_django.models import places


class QueueFilter(admin.SimpleListFilter):
    """One of the site's queues: an index has the order of one."""

    title = "cluster"
    #: the field with the name of the queue
    parameter_name = ""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the site's queues."""
        del request, model_admin
        return [(name, name) for name in places.queues()]

    def choices(self, changelist: Any) -> Any:
        """Yield them; the site's own is chosen where none is."""
        for name, title in self.lookup_choices:
            yield {
                "selected": (self.value() or places.queues()[0]) == name,
                "query_string": changelist.get_query_string({self.parameter_name: name}),
                "display": title,
            }

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the rows of the queue that is chosen."""
        del request
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class KeyFilter(QueueFilter):
    """The same of a field `key`."""

    parameter_name = "key"


class ClusterFilter(QueueFilter):
    """The same of a field `cluster`."""

    parameter_name = "cluster"


#: field with the name of the queue -> its filter
FILTERS: Final = MappingProxyType({"key": KeyFilter, "cluster": ClusterFilter})

"""Decides how many rows a list counts, and where its pages end."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.utils.functional import cached_property

#: rows that are counted and that pages lead to; for older ones there are filters
MOST: Final = 10_000


class BoundedPaginator(Paginator):
    """Counts no further than `MOST`, so that a table may have millions of rows."""

    @cached_property
    def _found(self) -> int:
        return self.object_list[: MOST + 1].count()

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, at most `MOST`."""
        return min(self._found, MOST)

    def page(self, number: Any) -> Any:  # noqa: ANN401 - as Django has it
        """Return a page; of nothing none is read, as a search through all rows takes its time."""
        return super().page(number) if self.count else self._get_page([], 1, self)

    @property
    def is_capped(self) -> bool:
        """Return whether there are more."""
        return self._found > MOST


class StoredChangeList(ChangeList):
    """Reads its rows when it is made, so that an error of the store is known before a page is begun."""

    #: the rows of the page
    result_list: Any

    def get_results(self, request: Any) -> None:  # noqa: ANN401 - a request of Django's
        """Read the rows, and what they need beside them, all at once."""
        super().get_results(request)
        # the number above the list is that below it
        self.full_result_count = self.result_count
        self.result_list = list(self.result_list)
        self.model_admin.prepare(self.result_list)

"""Reads the tables of Django-Q, whose app need not be installed."""

from __future__ import annotations

from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from django.apps.registry import Apps
from django.db import connections, models
from django.db.models import Q

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: a row by the names of its columns; older versions lack some
Row = dict[str, Any]

#: rows that are read at once
_PAGE: Final = 500
#: a registry of its own, so that the site has no models of these tables
_APPS: Final = Apps()


class _Old(models.Model):
    """A row that this site does not make."""

    class Meta:
        """No table of its own."""

        abstract = True
        apps = _APPS
        app_label = "django_q"
        managed = False

    def __str__(self) -> str:
        return str(self.pk)


class OldSchedule(_Old):
    """A row of `django_q_schedule`."""

    name = models.TextField()
    func = models.TextField()
    hook = models.TextField()
    args = models.TextField()
    kwargs = models.TextField()
    schedule_type = models.TextField()
    minutes = models.IntegerField()
    repeats = models.IntegerField()
    next_run = models.DateTimeField()
    cron = models.TextField()
    task = models.TextField()
    cluster = models.TextField()
    intended_date_kwarg = models.TextField()

    class Meta(_Old.Meta):
        """Where it is."""

        db_table = "django_q_schedule"


class OldTask(_Old):
    """A row of `django_q_task`; what is pickled there stays as it is."""

    id = models.TextField(primary_key=True)
    name = models.TextField()
    func = models.TextField()
    args = models.TextField()
    kwargs = models.TextField()
    result = models.TextField()
    group = models.TextField()
    started = models.DateTimeField()
    stopped = models.DateTimeField()
    success = models.BooleanField()
    attempt_count = models.IntegerField()

    class Meta(_Old.Meta):
        """Where it is."""

        db_table = "django_q_task"


class OldMessage(_Old):
    """A row of `django_q_ormq`."""

    key = models.TextField()
    payload = models.TextField()
    lock = models.DateTimeField()

    class Meta(_Old.Meta):
        """Where it is."""

        db_table = "django_q_ormq"


class Table:
    """One table of Django-Q in one database of the site."""

    def __init__(self, model: type[models.Model], alias: str) -> None:
        self._model = model
        self.alias = alias
        self.name = str(model._meta.db_table)  # noqa: SLF001 - the documented name of it
        connection = connections[alias]
        with connection.cursor() as cursor:
            #: whether there is such a table
            self.exists = self.name in connection.introspection.table_names(cursor)
            described = (
                connection.introspection.get_table_description(cursor, self.name) if self.exists else ()
            )
        self._described = frozenset(one.name for one in described)
        self._columns = [one.attname for one in model._meta.concrete_fields if self.has(str(one.column))]  # noqa: SLF001 - documented

    def has(self, column: str) -> bool:
        """Return whether there is a column; older versions lack some."""
        return column in self._described

    def count(self, **where: Any) -> int:
        """Return how many rows there are."""
        return self._rows().filter(**where).count() if self.exists else 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows by their primary key, a page at a time, so that they may be changed meanwhile."""
        return self._pages(self._rows().order_by("pk"), lambda last: Q(pk__gt=last["id"]))

    def newest(self, count: int | None, **where: Any) -> Iterator[Row]:
        """Yield the rows that ended last, the newest first, a page at a time; None = all."""

        def older(last: Row) -> Q:
            return Q(stopped__lt=last["stopped"]) | Q(stopped=last["stopped"], pk__gt=last["id"])

        found = self._rows().filter(**where).order_by("-stopped", "pk")
        return islice(self._pages(found, older), count)

    def _pages(self, found: models.QuerySet[Any], after: Callable[[Row], Q]) -> Iterator[Row]:
        """Yield rows, without a query that is open meanwhile: SQLite would let nobody write."""
        page = list(found.values(*self._columns)[:_PAGE]) if self.exists else []
        while page:
            yield from page
            page = list(found.filter(after(page[-1])).values(*self._columns)[:_PAGE])

    def change(self, key: object, if_is: Mapping[str, Any] = MappingProxyType({}), **fields: Any) -> bool:
        """Write columns of one row, if others have certain values; return whether that is so."""
        return bool(self._rows().filter(pk=key, **if_is).update(**fields))

    def delete(self, key: object) -> None:
        """Delete one row."""
        self._rows().filter(pk=key)._raw_delete(self.alias)  # noqa: SLF001 - no other model refers to it

    def _rows(self) -> models.QuerySet[Any]:
        manager: models.Manager[Any] = self._model._default_manager  # noqa: SLF001 - documented
        return manager.using(self.alias)


def title_of(row: Mapping[str, Any]) -> str:
    """Return how messages call a row."""
    return f"{row['id']} ({row.get('name') or row.get('func') or row.get('key')})"

"""QuerySets of objects in a table, or in another store."""

# ruff: noqa: ANN401 - Django's types of queries are known to none

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.db import NotSupportedError, models
from django.db.models.query import (
    FlatValuesListIterable,
    NamedValuesListIterable,
    ValuesIterable,
    ValuesListIterable,
)

from qcore.errors import NotSupported
from qcore_django.models.conditions import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

M = TypeVar("M", bound=models.Model)

_VALUES = (ValuesIterable, ValuesListIterable, FlatValuesListIterable, NamedValuesListIterable)


class StoredModel(models.Model):
    """A model whose objects may be in a store that is not a table."""

    class Meta:
        abstract = True

    @classmethod
    def stored(cls, query: Any) -> Sequence[Any] | None:
        """Return the objects that a query may be about, None if a database is to be asked."""
        del query
        return None

    @classmethod
    def check_update(cls, names: Iterable[str]) -> None:
        """Refuse fields that a QuerySet must not write."""

    @classmethod
    def scoped(cls, found: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return a QuerySet of what there is of this site."""
        return found


class SignedModel(StoredModel):
    """A model whose objects are signed: they are read and deleted, and not written by hand."""

    #: what an object is, and what to do in place of writing one
    SIGNED: ClassVar[str] = ""
    #: fields that are not signed, and that a QuerySet may change
    UNSIGNED: ClassVar[frozenset[str]] = frozenset()

    class Meta:
        abstract = True

    @classmethod
    def check_update(cls, names: Iterable[str]) -> None:
        """Refuse to write fields that are signed.

        Raises:
            NotSupported: there is one among them.

        """
        if not cls.UNSIGNED.issuperset(names):
            raise cls._refusal()

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to write.

        Raises:
            NotSupported: always.

        """
        del args, kwargs
        raise self._refusal()

    @classmethod
    def _refusal(cls) -> NotSupported:
        what, instead = cls.SIGNED.split("; ")
        return NotSupported(f"a {cls.__name__} is {what}, and is not written by hand; {instead}")


class ComputedQuerySet(models.QuerySet[M]):
    """Asks the database, or filters, sorts and cuts in memory what the model says is stored."""

    def _computed(self) -> list[Any] | None:
        """Return what is found in memory, None if a database is to be asked."""
        query: Any = self.query
        model: Any = self.model
        if query.is_empty():
            return []
        stored = model.stored(query)
        if stored is None:
            return None
        if query.annotations or query.combinator or query.extra or query.distinct_fields:
            msg = f"{model._meta.label} is not in a table: it is filtered, sorted and cut, and nothing else"
            raise NotSupportedError(msg)
        found = _sorted(query, model, [one for one in stored if matches(query.where, one)])
        iterable: Any = self._iterable_class
        if issubclass(iterable, _VALUES):
            found = [_values(iterable, query, one) for one in found]
            if query.distinct:
                found = [one for number, one in enumerate(found) if one not in found[:number]]
        return found[query.low_mark : query.high_mark]

    def _fetch_all(self) -> None:
        if self._result_cache is None:  # type: ignore[has-type]  # a part of Django's QuerySet
            self._result_cache = self._computed()
        super()._fetch_all()

    def count(self) -> int:
        """Return how many there are."""
        found = self._computed() if self._result_cache is None else None
        return super().count() if found is None else len(found)

    def exists(self) -> bool:
        """Return whether there is any."""
        found = self._computed() if self._result_cache is None else None
        return super().exists() if found is None else bool(found)

    def iterator(self, chunk_size: int | None = None) -> Iterator[Any]:
        """Return all of them, one by one."""
        found = self._computed()
        return super().iterator(chunk_size) if found is None else iter(found)

    def aggregate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what the database computes.

        Raises:
            NotSupportedError: they are not in a table.

        """
        if self.model.stored(self.query) is not None:
            raise NotSupportedError(f"{self.model._meta.label} is not in a table: count it in Python instead")
        return super().aggregate(*args, **kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete all of them; return how many, and of which model."""
        found = self._computed()
        if found is None:
            return super().delete()
        deleted = sum(one.delete()[0] for one in found)
        self._result_cache = None
        return deleted, {self.model._meta.label: deleted} if deleted else {}

    delete.alters_data = True  # type: ignore[attr-defined]  # Django's word for it
    delete.queryset_only = True  # type: ignore[attr-defined]  # as above

    def update(self, **kwargs: Any) -> int:
        """Change all of them; return how many.

        Raises:
            NotSupported: a field is signed.

        """
        model: Any = self.model
        model.check_update(kwargs)
        found = self._computed()
        if found is None:
            return super().update(**kwargs)
        for one in found:
            for name, value in kwargs.items():
                setattr(one, name, value)
            one.save(update_fields=list(kwargs))
        self._result_cache = None
        return len(found)

    update.alters_data = True  # type: ignore[attr-defined]  # as above

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Save objects, one by one."""
        del args, kwargs
        made = list(objs)
        for one in made:
            one.save(force_insert=True)
        return made


class StoredManager(models.Manager[M]):
    """Gives the QuerySet of a StoredModel."""

    def get_queryset(self) -> ComputedQuerySet[M]:
        """Return all there are."""
        model: Any = self.model
        found: ComputedQuerySet[M] = model.scoped(ComputedQuerySet(model, using=self._db, hints=self._hints))
        return found


def _sorted(query: Any, model: Any, found: list[Any]) -> list[Any]:
    names = query.extra_order_by or query.order_by
    if not names and query.default_ordering:
        names = model._meta.ordering
    for name in reversed(names):
        if not isinstance(name, str):
            raise NotSupportedError(f"{model._meta.label} is not in a table: sort it by names of fields")
        field = name.lstrip("+-")
        attribute = model._meta.pk.attname if field == "pk" else model._meta.get_field(field).attname

        def key(one: Any, attribute: str = attribute) -> Any:
            value = getattr(one, attribute)
            return value is not None, value

        found = sorted(found, key=key, reverse=name.startswith("-"))
    return found if query.standard_ordering else found[::-1]


def _values(iterable: Any, query: Any, one: Any) -> Any:
    names = query.values_select
    values = [getattr(one, name) for name in names]
    if issubclass(iterable, FlatValuesListIterable):
        return values[0]
    if issubclass(iterable, NamedValuesListIterable):
        return NamedValuesListIterable.create_namedtuple_class(*names)(*values)
    return dict(zip(names, values, strict=True)) if issubclass(iterable, ValuesIterable) else tuple(values)

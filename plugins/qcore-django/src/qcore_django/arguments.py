"""Decides how Django's own types travel as arguments and results."""

from __future__ import annotations

from typing import Any, Final

from django.apps import apps
from django.core.files.base import File
from django.db import models, router
from django.db.models.query import ModelIterable
from django.utils.functional import LazyObject, Promise, empty
from django.utils.safestring import SafeString, mark_safe

from qcore.errors import EncodeError
from qcore_django.boundary import BOUNDARY
from qcore_text.wording import counted
from qcore_values.foreign import Foreign, register

#: most objects of a QuerySet, whose keys travel
MOST: Final = 1000


def register_types() -> None:
    """Have the types of Django travel; every process of a site does it at its start."""
    register(Foreign("django.model", models.Model, _write_instance, _read_instance))
    register(Foreign("django.queryset", models.QuerySet, _write_queryset, _read_queryset))
    register(Foreign("django.safe", SafeString, str.__str__, mark_safe))
    # What arrives is what they stand for.
    register(Foreign("django.lazy", LazyObject, _wrapped))
    register(Foreign("django.promise", Promise, lambda value: value._proxy____cast()))  # noqa: SLF001 - as Django's fields do
    register(Foreign("django.choices", models.Choices, lambda value: value.value))
    register(Foreign("django.file", File, _refuse_file))


def _write_instance(instance: models.Model) -> list[Any]:
    """Return what a worker finds the object by: its model, its key and the database it is written to."""
    model = type(instance)
    if instance._state.adding or instance.pk is None:  # noqa: SLF001 - Django documents it
        raise EncodeError(f"{model._meta.label}, an object that is not saved; save it, then enqueue")  # noqa: SLF001 - as above
    return [_label(model), instance.pk, router.db_for_write(model, instance=instance)]


def _read_instance(found: list[Any]) -> models.Model:
    """Return the object as it is now.

    Raises:
        DoesNotExist: of its model; it is not there.
        LookupError: the model is not there.

    """
    label, key, database = found
    model = _model(label)
    # An old connection would be closed only when the task begins, and this is before.
    BOUNDARY.before_task()
    try:
        instance: models.Model = model._base_manager.using(database).get(pk=key)  # noqa: SLF001 - Django documents it
    except model.DoesNotExist:
        why = "it was deleted, or the transaction that makes it is not committed"
        raise model.DoesNotExist(f"{label} {key!r} is not in the database {database!r}: {why}") from None
    return instance


def _write_queryset(query: models.QuerySet) -> list[Any]:
    """Return the keys of the objects that a QuerySet has now, and how it is ordered."""
    model = query.model
    label = _label(model)
    if not issubclass(query._iterable_class, ModelIterable):  # noqa: SLF001 - nothing else tells
        raise EncodeError(f"a QuerySet of {label} that gives values; pass list() of it")
    if query.query.annotations:
        names = ", ".join(query.query.annotations)
        raise EncodeError(
            f"a QuerySet of {label} with annotations ({names}), which would be missing; pass keys"
        )
    cached = query._result_cache  # noqa: SLF001 - what is fetched already is not asked for again
    # One more tells that there are too many, however many there are.
    keys = (
        list(query.values_list("pk", flat=True)[: MOST + 1]) if cached is None else [one.pk for one in cached]
    )
    if len(keys) > MOST:
        most = counted(MOST, "object")
        raise EncodeError(f"a QuerySet of {label} with more than {most}; pass what to filter by")
    order = query.query.order_by
    names_only = all(isinstance(one, str) and one != "?" for one in order)
    own = list(order) if names_only and (order or not query.query.default_ordering) else None
    return [label, keys, router.db_for_write(model), own]


def _read_queryset(found: list[Any]) -> models.QuerySet:
    """Return a QuerySet of those objects that are still there; it asks the database when it is used."""
    label, keys, database, order = found
    model = _model(label)
    BOUNDARY.before_task()
    # The methods are those of the model's own QuerySet, and its default filter is not applied.
    kind = type(model._default_manager.all())  # noqa: SLF001 - Django documents it
    query: models.QuerySet = kind(model=model, using=database).filter(pk__in=keys)
    return query if order is None else query.order_by(*order)


def _model(label: str) -> Any:  # noqa: ANN401 - a class of the site's
    """Return the model of an argument.

    Raises:
        LookupError: no installed app has it.

    """
    try:
        return apps.get_model(label)
    except LookupError as exc:
        msg = f"{label}, an argument of this task, is a model that no installed app has any more; restore it"
        raise LookupError(f"{msg}, and enqueue the task again") from exc


def _label(model: type[models.Model]) -> str:
    label: str = model._meta.label  # noqa: SLF001 - Django documents it
    try:
        apps.get_model(label)
    except LookupError as exc:
        raise EncodeError(f"{label}, a model that no installed app has; pass what identifies it") from exc
    return label


def _wrapped(value: LazyObject) -> object:
    if value._wrapped is empty:  # noqa: SLF001 - as Django's own code asks
        value._setup()  # noqa: SLF001 - as above
    return value._wrapped  # noqa: SLF001 - as above


def _refuse_file(value: File) -> object:
    kind = type(value).__name__
    raise EncodeError(f"{kind}, a file, whose content does not travel; store it and pass its name")

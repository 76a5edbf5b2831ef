"""Types of Django as arguments and results."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection, models
from django.db.models import Count
from django.db.models.functions import Lower
from django.test import override_settings
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from qcore import State
from qcore.errors import EncodeError
from qcore_django import app, arguments
from qcore_django.arguments import MOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore import Result


class Status(models.TextChoices):
    """A choice of a model's."""

    PAID = "paid"


@pytest.fixture(autouse=True, params=["msgpack", "json"])
def site(request: pytest.FixtureRequest) -> Iterator[None]:
    """Return a site whose tasks run at once, with its tables."""
    call_command("migrate", verbosity=0)
    with override_settings(Q_CLUSTER={"sync": True, "serializer": request.param}):
        yield
        User.objects.all().delete()
        Group.objects.all().delete()
        app.close()


def describe(value: Any) -> Any:
    """Return what of a value tells that it is the same."""
    if isinstance(value, models.QuerySet):
        return [type(value).__name__, value.model.__name__, value.db, [str(one) for one in value]]
    if isinstance(value, models.Model):
        return [type(value).__name__, value.pk, str(value), value._state.db]
    return [type(value).__name__, value]


def kind_of(value: Status) -> str:
    """Return the type of an annotated argument."""
    return type(value).__name__


def first(value: Any) -> Any:
    """Return an element of a list in a mapping."""
    return describe(value["users"][0])


def give(name: str) -> User:
    """Return an object."""
    return User.objects.get(username=name)


def run(function: Any, *args: Any) -> Result:
    """Run a task and return its result."""
    found = app.enqueue(function, *args).fetch()
    assert found is not None
    return found


def test_an_object_is_fetched_as_it_is_when_the_task_runs() -> None:
    """What was changed and not saved does not travel."""
    user = User.objects.create(username="ann")
    user.username = "not saved"

    assert run(describe, user).value == ["User", user.pk, "ann", "default"]
    assert run(first, {"users": [user]}).value == ["User", user.pk, "ann", "default"]
    assert run(give, "ann").value == user


def test_an_object_that_is_gone_is_a_failure_of_its_task() -> None:
    """It is told from a task that cannot be read, and names the object."""
    user = User.objects.create(username="ann")
    key = user.pk
    User.objects.all().delete()
    user.pk = key

    found = run(describe, user)

    assert (found.state, found.kind) == (State.FAILED, "failure")
    assert found.error == (
        f"User.DoesNotExist: auth.User {key} is not in the database 'default': "
        "it was deleted, or the transaction that makes it is not committed"
    )


@pytest.mark.parametrize("label", ["auth.Gone", "gone.Order"])
def test_a_model_that_is_gone_is_a_failure_of_its_task(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """It was removed while the task waited, alone or with its app; objects and QuerySets name it alike."""
    user = User.objects.create(username="ann")
    monkeypatch.setattr(arguments, "_label", lambda _: label)

    for given in (user, User.objects.all()):
        found = run(describe, given)

        assert (found.state, found.kind) == (State.FAILED, "failure")
        assert found.error == (
            f"LookupError: {label}, an argument of this task, is a model that no installed app has any more; "
            "restore it, and enqueue the task again"
        )


def test_a_query_set_arrives_as_one_of_its_objects_now() -> None:
    """In its order, with the methods of its model; who was deleted is missing."""
    for name in ("cem", "ann", "bob"):
        User.objects.create(username=name)
    chosen = User.objects.filter(username__in=["ann", "cem"]).order_by("-username")

    assert run(describe, chosen).value == ["QuerySet", "User", "default", ["cem", "ann"]]
    assert run(describe, User.objects.order_by("username")[:2]).value[3] == ["ann", "bob"]
    assert run(describe, User.objects.order_by(Lower("username"))).value[3]
    assert run(describe, User.objects.none()).value == ["QuerySet", "User", "default", []]
    list(chosen)
    User.objects.filter(username="cem").delete()
    assert run(describe, chosen).value[3] == ["ann"]


def test_a_relation_arrives_as_a_query_set() -> None:
    """A related manager's class is made by Django when it runs, and cannot be named."""
    user = User.objects.create(username="ann")
    user.groups.add(Group.objects.create(name="staff"))

    assert run(describe, user.groups.all()).value == ["QuerySet", "Group", "default", ["staff"]]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: User(username="new"), "auth.User, an object that is not saved; save it, then enqueue"),
        (lambda: User.objects.values("pk"), "a QuerySet of auth.User that gives values; pass list"),
        (lambda: User.objects.annotate(groups_=Count("groups")), r"with annotations \(groups_\), which"),
        (lambda: ContentFile(b"text", "name.txt"), "ContentFile, a file, whose content does not travel"),
    ],
)
def test_what_would_not_arrive_whole_is_refused(make: Any, why: str) -> None:
    """Where it is enqueued, with what to do."""
    with pytest.raises(EncodeError, match=why):
        app.enqueue(describe, make())


def test_a_huge_query_set_is_refused_without_being_read() -> None:
    """One row more than the limit is asked for."""
    User.objects.bulk_create([User(username=f"user{number}") for number in range(MOST + 1)])
    connection.force_debug_cursor = True
    try:
        with pytest.raises(EncodeError, match=r"a QuerySet of auth.User with more than 1,000 objects; pass"):
            app.enqueue(describe, User.objects.all())
        assert f"LIMIT {MOST + 1}" in connection.queries[-1]["sql"]
    finally:
        connection.force_debug_cursor = False
    assert len(run(describe, User.objects.all()[:MOST]).value[3]) == MOST


def test_lazy_texts_and_choices_arrive_as_what_they_stand_for() -> None:
    """A text in the language in which it was enqueued, a wrapped object as the object."""
    user = User.objects.create(username="ann")
    with translation.override("de"):
        assert run(describe, gettext_lazy("Yes")).value == ["str", "Ja"]
    assert run(describe, Status.PAID).value == ["str", "paid"]
    assert run(kind_of, Status.PAID).value == "Status"
    assert run(describe, SimpleLazyObject(lambda: user)).value == ["User", user.pk, "ann", "default"]


def test_markup_stays_safe() -> None:
    """What render_to_string returns is not escaped again."""
    found = run(describe, mark_safe("<b>")).value

    assert found == ["SafeString", "<b>"]
    assert type(found[1]) is SafeString


@pytest.mark.parametrize(
    "value",
    [
        uuid.UUID(int=5),
        decimal.Decimal("0.10"),
        dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC),
        dt.timedelta(seconds=1),
    ],
)
def test_values_of_fields_are_kept(value: object) -> None:
    """As everywhere in qcore."""
    assert run(describe, value).value == [type(value).__name__, value]

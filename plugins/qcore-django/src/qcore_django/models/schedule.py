"""The model of schedules: a row of Django-Q, stored where `app.schedules` stores."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.db.transaction import atomic
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from qcore.errors import QcoreError, QueueMissing
from qcore_calendar import rules
from qcore_django.hooks import hook_for
from qcore_django.models import native, places
from qcore_django.models.computed import StoredManager
from qcore_django.models.conditions import wanted
from qcore_django.models.fields import moment, seconds_of
from qcore_django.models.schedule_fields import FIELDS, RULE, ScheduleFields, read_args, read_kwargs
from qcore_django.models.task import Task
from qcore_django.queue_names import queue_name
from qcore_django.shared import app
from qcore_django.words import words_of
from qcore_names.resolve import name_of
from qcore_schedules.sealed import stored_schedules

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from qcore_calendar.schedule import Schedule as Native
    from qcore_schedules.sealed import SealedSchedules


class Schedule(ScheduleFields):
    """A schedule, in the words of Django-Q; `app.schedules` has the same ones."""

    objects: ClassVar[StoredManager[Any]] = StoredManager()

    #: the schedule of qcore that it was read from; None = it is not stored
    native: Native | None = None
    #: why it fires no slots until it is changed or resumed; empty while it works
    fault: str = ""
    #: result group of its tasks
    group: str | None = None
    #: fields that a form has refused
    _refused: frozenset[str] = frozenset()

    class Meta:
        app_label = "qcore_django"
        db_table = "qcore_schedule"
        managed = False
        verbose_name = _("scheduled task")
        verbose_name_plural = _("scheduled tasks")
        ordering: ClassVar = ["next_run"]

    def __str__(self) -> str:
        return self.name or self.func

    # -- where they are -------------------------------------------------------------------------

    @classmethod
    def _check_column_name_clashes(cls) -> list[Any]:
        """Check no columns: they are not read."""
        return []

    @classmethod
    def stored(cls, query: Any) -> Sequence[Any] | None:  # noqa: ANN401 - a part of Django's QuerySet
        """Return the schedules of the site's queue."""
        names = wanted(query.where, "id") or wanted(query.where, "name")
        if names is None or len(names) > 1:
            return [cls.of(one) for one in native.existing()]
        try:
            with stored_schedules(app.runtime) as store:
                found = store.get(str(names[0])) if str(names[0]).isprintable() else None
        except QueueMissing:
            found = None
        return [] if found is None else [cls.of(found)]

    @classmethod
    def of(cls, one: Native) -> Schedule:
        """Return a schedule of qcore as a row."""
        made = cls()
        made._read(one)
        return made

    def _read(self, one: Native) -> None:
        self.native = one
        for name, value in native.fields_of(one).items():
            setattr(self, name, value)
        self._loaded = {name: getattr(self, name) for name in FIELDS}
        self._state.adding = False

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Read it anew."""
        del args, kwargs
        self._read(app.schedules.get(self.id))

    # -- writing --------------------------------------------------------------------------------

    def full_clean(self, exclude: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Refuse values that no cluster could fire; what a form has refused already is left alone."""
        self._refused = frozenset(exclude or ()) & frozenset(FIELDS)
        super().full_clean(exclude=exclude, **kwargs)

    def clean_fields(self, exclude: Iterable[str] | None = None) -> None:
        """Refuse values of single fields."""
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as exc:
            self._refused |= set(exc.error_dict)
            raise

    def clean(self) -> None:
        """Refuse what no cluster could fire.

        Raises:
            ValidationError: by the fields that are wrong.

        """
        wrong: dict[str, Any] = {}
        for name, read in (("args", read_args), ("kwargs", read_kwargs)):
            if self._is_changed(name) and name not in self._refused:
                try:
                    read(getattr(self, name))
                except ValidationError as exc:
                    wrong[name] = exc
        if self.schedule_type == self.CRON and not self.cron and "cron" not in self._refused:
            wrong["cron"] = "a schedule of the type Cron needs a cron expression"
        if wrong:
            raise ValidationError(wrong)
        if self._refused:
            return
        try:
            self._draft()
        except QcoreError as exc:
            raise ValidationError(str(exc)) from exc

    def _draft(self) -> Native:
        """Return what would be stored of a new schedule."""
        args = read_args(self.args) if self._is_changed("args") else ()
        kwargs = read_kwargs(self.kwargs) if self._is_changed("kwargs") else {}
        return native.made_of({**self._given(), "name": self.name or "schedule"}, args, kwargs)

    def preview(self, count: int = 10) -> list[datetime]:
        """Return its next slots, as it would be stored now."""
        if self.native is not None and not any(map(self._is_changed, (*RULE, "next_run", "repeats"))):
            one = self.native
        else:
            one = self._draft()
        where = rules.zone(one.time_zone)
        left = one.repeats or one.kept
        return native.following(
            rules.parse(one.rule), one.next_run, where, one.anchor, repeats=left, count=count
        )

    def save(
        self,
        force_insert: object = False,  # noqa: FBT002 - Django's
        force_update: object = False,  # noqa: FBT002 - Django's
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Store it: a new one, or what has changed of it. Its next run is then computed.

        Raises:
            IntegrityError: there is another of the same name.
            QcoreError: it is not valid, or the store does not answer.
            ValidationError: its arguments are not literals.

        """
        del force_update
        created = self.native is None or bool(force_insert)
        pre_save.send(type(self), instance=self, raw=False, using=using, update_fields=update_fields)
        if created:
            self._add()
        else:
            self._change(set(FIELDS if update_fields is None else update_fields))
        post_save.send(
            type(self), instance=self, created=created, raw=False, using=using, update_fields=update_fields
        )

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002 - Django's
        """Delete it; return how many there were, and of which model. The tasks it has enqueued stay."""
        del keep_parents
        pre_delete.send(type(self), instance=self, using=using, origin=self)
        count = int(app.schedules.delete(self.id))
        post_delete.send(type(self), instance=self, using=using, origin=self)
        self.native = None
        return count, {self._meta.label: count} if count else {}

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in FIELDS}
        if callable(given["func"]):
            given["func"] = name_of(given["func"])
        return given

    def _is_changed(self, name: str) -> bool:
        return self.native is None or getattr(self, name) != self._loaded[name]

    def _add(self) -> None:
        name = self.name or words_of(os.urandom(16).hex())
        made = native.made_of({**self._given(), "name": name}, read_args(self.args), read_kwargs(self.kwargs))
        with stored_schedules(app.runtime, create=True) as store:
            _add_to(store, made)
        self._read(made)

    def _change(self, names: set[str]) -> None:
        changed = {name for name in names & set(FIELDS) if self._is_changed(name)}
        changes = self._changes(changed)
        if changes:
            app.schedules.update(self.id, **changes)
        if changes.get("repeats") and self.native is not None and not self.native.repeats:
            # In Django-Q a number of slots is all that a paused schedule lacks.
            app.schedules.resume(self.id)
        if "name" in changed and self.name:
            self._rename(self.name)
        self._read(app.schedules.get(self.name if "name" in changed and self.name else self.id))

    def _changes(self, changed: set[str]) -> dict[str, Any]:
        """Return what `app.schedules.update` is to change."""
        given = self._given()
        changes: dict[str, Any] = {name: given[name] for name in changed & {"func", "next_run"}}
        if "repeats" in changed:
            changes["repeats"] = max(-1, given["repeats"])
        if "cluster" in changed:
            changes["cluster"] = queue_name(given["cluster"] or "")
        if "intended_date_kwarg" in changed:
            changes["intended_date_kwarg"] = given["intended_date_kwarg"] or None
        if "hook" in changed:
            changes["hook"] = hook_for(given["hook"]) if given["hook"] else None
        if changed & RULE:
            changes |= native.rule_changes(given)
        options: dict[str, Any] = {}
        # Each alone: the other may have values that cannot be written as literals.
        if "args" in changed:
            changes["args"] = read_args(given["args"])
        if "kwargs" in changed:
            kwargs = read_kwargs(given["kwargs"])
            options = dict(kwargs.pop("q_options", None) or {})
            changes["kwargs"] = kwargs
        if "name" in changed and self.name and self.group == self.id:
            options.setdefault("group", self.name)
        return changes | ({"q_options": options} if options else {})

    def _rename(self, name: str) -> None:
        """Store it under another name, where it rests until the old one is gone: no slot fires twice."""
        alias = places.results_alias() or places.queue_alias()
        with (
            nullcontext() if alias is None else atomic(using=alias),
            stored_schedules(app.runtime) as store,
        ):
            while (before := store.get(self.id)) is not None:
                after = attrs.evolve(before, name=name)
                resting = attrs.evolve(after, repeats=0, kept=before.repeats) if before.repeats else after
                _add_to(store, resting)
                if store.advance(before, None):
                    store.advance(resting, after)
                    break
                # It has fired, or was changed, in the meantime.
                store.remove(name)

    # -- its tasks ------------------------------------------------------------------------------

    @property
    def task(self) -> str | None:
        """The id of the task that its last slot has enqueued."""
        return None if self.native is None else native.last_task_id(self.native)

    def last_task(self) -> Any:  # noqa: ANN401 - a Task
        """Return the task that its last slot has enqueued, None if it has not ended."""
        return Task.objects.filter(id=self.task).first() if self.task else None

    def success(self) -> bool | None:
        """Return whether that task has succeeded, None if it has not ended."""
        found = self.last_task()
        return None if found is None else found.success

    def last_run(self) -> str | None:
        """Return a link to that task in the admin, None if it has not ended."""
        found = self.last_task()
        return None if found is None else link_to(found)

    def calculate_next_run(self, next_run: datetime | None = None) -> datetime | None:
        """Return the slot after a time, or after the next one; None if there is none."""
        one = self.native or self._draft()
        after = one.next_run if next_run is None else seconds_of(next_run)
        rule = rules.parse(one.rule)
        slot = rules.next_slot(rule, after, rules.zone(one.time_zone), one.anchor)
        return None if slot is None else moment(slot)

    success.boolean = True  # type: ignore[attr-defined]  # the admin reads it
    success.short_description = _("success")  # type: ignore[attr-defined]  # as above
    last_run.short_description = _("last run")  # type: ignore[attr-defined]  # as above


def link_to(task: Task) -> str:
    """Return a link to a task in the admin, or its name on a site without one."""
    kind = "success" if task.success else "failure"
    try:
        url = reverse(f"admin:qcore_django_{kind}_change", args=(task.id,))
    except NoReverseMatch:
        return str(task)
    return format_html('<a href="{}">[{}]</a>', url, task.name)


def _add_to(store: SealedSchedules, made: Native) -> None:
    if not store.add(made):
        raise IntegrityError(f"there is a schedule {made.name!r}; give this one another name")

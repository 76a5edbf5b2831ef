"""The page of schedules, with a form and a preview."""

# ruff: noqa: ANN401 - requests and forms of Django's are of types that none knows

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import JsonResponse
from django.urls import path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join

from qcore.errors import QcoreError
from qcore_django.admin.batches import in_batches
from qcore_django.admin.stored import StoredAdmin, short
from qcore_django.models import Schedule, Task, native
from qcore_django.models.schedule import link_to
from qcore_django.shared import app
from qcore_names.resolve import resolve
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

#: slots of a preview
SLOTS = 10


def written(moment: datetime) -> str:
    """Return a slot as the preview shows it: weekday, date, time and zone."""
    here = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return date_format(here, "D Y-m-d H:i:s T" if timezone.is_aware(here) else "D Y-m-d H:i:s")


class ScheduleForm(forms.ModelForm):
    """A schedule; its functions must be there, its rule must have a slot."""

    class Meta:
        model = Schedule
        fields = (
            "name", "func", "args", "kwargs", "schedule_type", "minutes", "seconds", "cron", "repeats",
            "next_run", "hook", "cluster", "intended_date_kwarg",
        )  # fmt: skip
        widgets: ClassVar = {
            "args": forms.Textarea(attrs={"rows": 2, "cols": 60}),
            "kwargs": forms.Textarea(attrs={"rows": 2, "cols": 60}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.native is not None:
            # the values that the form was shown with, sent back beside those in it
            for field in self.fields.values():
                field.show_hidden_initial = True

    def clean(self) -> Any:
        """Leave alone what was not edited here: it may have fired, or been changed, in the meantime."""
        cleaned: Any = super().clean()
        for name in cleaned if self.instance.native is not None else ():
            shown_with = self[name].html_initial_name
            if name not in self.changed_data and any(key.startswith(shown_with) for key in self.data):
                cleaned[name] = getattr(self.instance, name)
        return cleaned

    def clean_func(self) -> str:
        """Refuse a function that is not there."""
        return self._importable("func")

    def clean_hook(self) -> str | None:
        """Refuse a callback that is not there."""
        return self._importable("hook") if self.cleaned_data.get("hook") else None

    def clean_name(self) -> str | None:
        """Refuse the name of another schedule."""
        name = self.cleaned_data.get("name") or None
        taken = name is not None and name != self.instance.id and Schedule.objects.filter(name=name).exists()
        if taken:
            raise ValidationError(f"there is a schedule {name!r}; give this one another name")
        return name

    def _importable(self, field: str) -> str:
        name = str(self.cleaned_data[field])
        if field in self.changed_data:
            try:
                resolve(name, app.config.tasks_allowed)
            except QcoreError as exc:
                raise ValidationError(str(exc)) from exc
        return name


class ScheduleAdmin(StoredAdmin):
    """Schedules: those made here, by programs and in code."""

    form = ScheduleForm
    change_form_template = "admin/qcore_django/schedule/change_form.html"
    list_display: ClassVar = [
        "name", "func", "rule", "repeats_left", "next_slot", "get_last_run", "get_success", "state",
    ]  # fmt: skip
    list_filter: ClassVar = ["schedule_type", ("next_run", admin.DateFieldListFilter)]
    sortable_by: ClassVar = ["name", "func", "next_slot"]
    search_fields: ClassVar = ["name", "func"]
    ordering: ClassVar = ["next_run"]
    actions: ClassVar[Sequence[str]] = ["run_now", "pause", "resume", "delete_selected"]
    fieldsets: ClassVar = [
        (None, {"fields": ["name", "func", "args", "kwargs"]}),
        (
            "When",
            {
                "fields": [
                    "schedule_type",
                    "minutes",
                    "seconds",
                    "cron",
                    "repeats",
                    "next_run",
                    "zone",
                    "upcoming",
                ]
            },
        ),
        ("Its tasks", {"fields": ["hook", "cluster", "intended_date_kwarg", "get_last_run", "state"]}),
    ]

    class Media:
        css: ClassVar = {"all": ["qcore_django/admin.css"]}
        js: ClassVar = ["qcore_django/preview.js"]

    # -- what may be done -----------------------------------------------------------------------

    def has_add_permission(self, request: Any) -> bool:
        """Return whether schedules may be made."""
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Return whether schedules may be changed."""
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Sequence[Any]:
        """Return what is computed."""
        del request, obj
        return ["zone", "upcoming", "get_last_run", "state"]

    def get_urls(self) -> list[Any]:
        """Return the addresses of the pages, and of the preview."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_preview"
        return [path("preview/", self.admin_site.admin_view(self.preview), name=name), *super().get_urls()]

    def preview(self, request: Any) -> JsonResponse:
        """Answer with the next slots of the rule in a form, or with why there are none."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found = PreviewForm(request.GET)
        if not found.is_valid():
            field, problems = next(iter(found.errors.items()))
            return JsonResponse({"problem": f"{field}: {problems[0]}", "slots": []})
        try:
            slots = native.slots_of({**found.cleaned_data, "name": None, "intended_date_kwarg": None}, SLOTS)
        except QcoreError as exc:
            return JsonResponse({"problem": str(exc), "slots": []})
        return JsonResponse({"problem": "", "slots": [written(one) for one in slots]})

    def get_object(self, request: Any, object_id: str, from_field: Any = None) -> Any:
        """Return one schedule, with the task of its last slot."""
        found = super().get_object(request, object_id, from_field)
        self.prepare([] if found is None else [found])
        return found

    def prepare(self, rows: Sequence[Any]) -> None:
        """Read the tasks of their last slots, all at once."""
        ids = [one.task for one in rows if one.task]
        found = {one.id: one for one in Task.objects.filter(id__in=ids)} if ids else {}
        for one in rows:
            one.last = found.get(one.task)

    # -- columns --------------------------------------------------------------------------------

    @admin.display(description="when", ordering="schedule_type")
    def rule(self, one: Schedule) -> str:
        """Return its rule in a few words."""
        if one.schedule_type == Schedule.CRON:
            return str(one.cron)
        if one.schedule_type == Schedule.MINUTES:
            return f"every {counted(one.minutes or 1, 'minute')}"
        if one.schedule_type == Schedule.SECONDS:
            return f"every {counted(one.seconds or 1, 'second')}"
        return str(one.get_schedule_type_display())

    @admin.display(description="slots left")
    def repeats_left(self, one: Schedule) -> str:
        """Return how many slots it has left."""
        left = one.repeats or (0 if one.native is None else one.native.kept)
        return "no limit" if left < 0 else str(left)

    @admin.display(description="next run", ordering="next_run")
    def next_slot(self, one: Schedule) -> str:
        """Return when it runs next; what rests has no next run."""
        return short(one.next_run if one.repeats and not one.fault else None)

    @admin.display(description="last run")
    def get_last_run(self, one: Schedule) -> str | None:
        """Return a link to the task of its last slot."""
        last = getattr(one, "last", None)
        return None if last is None else link_to(last)

    @admin.display(description="success", boolean=True)
    def get_success(self, one: Schedule) -> bool | None:
        """Return whether the task of its last slot has succeeded."""
        last = getattr(one, "last", None)
        return None if last is None else bool(last.success)

    @admin.display(description="state")
    def state(self, one: Schedule) -> str:
        """Return whether it fires, and why not."""
        if one.native is None:
            return "-"
        if one.fault:
            return format_html('<span class="q-fault">disabled: {}</span>', one.fault)
        if one.repeats:
            return "active"
        return "paused" if one.native.kept else "ended"

    @admin.display(description="time zone")
    def zone(self, one: Schedule) -> str:
        """Return the zone whose clock it follows."""
        return app.config.time_zone if one.native is None else one.native.time_zone

    @admin.display(description="next ten runs")
    def upcoming(self, one: Schedule) -> str:
        """Return its next slots; a script reads them anew when the form changes."""
        try:
            slots = [] if one.native is None or one.fault or not one.native.rule else one.preview(SLOTS)
            problem = ""
        except QcoreError as exc:
            slots, problem = [], str(exc)
        lines = format_html_join("", "<li>{}</li>", ((written(slot),) for slot in slots))
        return format_html(
            '<div class="q-preview"><ol>{}</ol><p class="q-fault">{}</p></div>', lines, problem
        )

    # -- actions --------------------------------------------------------------------------------

    def _each(self, request: Any, queryset: Any, done: str, act: Callable[[str], object]) -> Any:
        def one_by_one(some: Sequence[Any]) -> tuple[int, str]:
            count, why = 0, ""
            for one in some:
                try:
                    act(one.id)
                    count += 1
                except QcoreError as exc:
                    why = why or str(exc)
            return count, why

        return in_batches(self, request, queryset, done, one_by_one)

    @admin.action(permissions=["act"], description="Run selected schedules now")
    def run_now(self, request: Any, queryset: Any) -> Any:
        """Enqueue their tasks now; their slots stay as they are."""
        return self._each(request, queryset, "run", app.schedules.run)

    @admin.action(permissions=["act"], description="Pause selected schedules")
    def pause(self, request: Any, queryset: Any) -> Any:
        """Have them fire no slots until they are resumed."""
        return self._each(request, queryset, "paused", app.schedules.pause)

    @admin.action(permissions=["act"], description="Resume selected schedules")
    def resume(self, request: Any, queryset: Any) -> Any:
        """Have them fire again; the slots they have missed are skipped."""
        return self._each(request, queryset, "resumed", app.schedules.resume)


class PreviewForm(forms.Form):
    """The fields of a schedule that make its slots."""

    schedule_type = forms.ChoiceField(choices=Schedule.TYPE)
    minutes = forms.IntegerField(required=False, min_value=1)
    seconds = forms.IntegerField(required=False, min_value=1)
    cron = forms.CharField(required=False)
    repeats = forms.IntegerField(required=False, min_value=-1)
    next_run = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)

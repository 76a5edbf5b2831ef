"""Which fields a schedule has in Django-Q, and which values they take."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from qcore.errors import ScheduleError
from qcore_calendar import rules
from qcore_django.cron import cron_of
from qcore_django.literals import args_of, kwargs_of
from qcore_django.models.computed import StoredModel

#: what a schedule is saved with
FIELDS: Final = (
    "name", "func", "hook", "args", "kwargs", "schedule_type", "minutes", "seconds", "repeats", "next_run",
    "cron", "cluster", "intended_date_kwarg",
)  # fmt: skip
#: the fields that make its rule
RULE: Final = frozenset({"schedule_type", "minutes", "seconds", "cron"})


def validate_cron(value: str) -> None:
    """Refuse what is not a cron expression.

    Raises:
        ValidationError: it is not.

    """
    try:
        found = rules.parse(cron_of(value))
    except ScheduleError as exc:
        raise ValidationError(str(exc)) from exc
    if not found.cron:
        raise ValidationError(f"{value!r} is not a cron expression such as */5 * * * *")


def validate_kwarg(value: str) -> None:
    """Refuse what cannot name an argument.

    Raises:
        ValidationError: it cannot.

    """
    if not value.isidentifier():
        raise ValidationError(f"{value!r} is not a name that an argument can have")


def read_args(text: object) -> tuple[Any, ...]:
    """Return positional arguments, written as a text or not.

    Raises:
        ValidationError: they are not literals.

    """
    if not isinstance(text, str):
        return () if text is None else tuple(text) if isinstance(text, tuple | list) else (text,)
    try:
        return args_of(text)
    except ValueError as exc:
        raise ValidationError(f"{text[:80]!r} is not a list of literals such as 1, 2, 'John': {exc}") from exc


def read_kwargs(text: object) -> dict[str, Any]:
    """Return keyword arguments, written as a text or not.

    Raises:
        ValidationError: they are not literals.

    """
    if not isinstance(text, str):
        return dict(text or {})  # type: ignore[call-overload]  # a mapping, or nothing
    try:
        return kwargs_of(text)
    except ValueError as exc:
        said = f"{text[:80]!r} is not a list of keywords such as x=1, name='John': {exc}"
        raise ValidationError(said) from exc


class ScheduleFields(StoredModel):
    """The fields of Django-Q's model; `seconds` is ours."""

    ONCE, MINUTES, HOURLY, DAILY, WEEKLY, BIWEEKLY = "O", "I", "H", "D", "W", "BW"
    MONTHLY, BIMONTHLY, QUARTERLY, YEARLY, CRON, SECONDS = "M", "BM", "Q", "Y", "C", "S"
    TYPE: ClassVar = (
        (ONCE, _("Once")),
        (MINUTES, _("Minutes")),
        (HOURLY, _("Hourly")),
        (DAILY, _("Daily")),
        (WEEKLY, _("Weekly")),
        (BIWEEKLY, _("Biweekly")),
        (MONTHLY, _("Monthly")),
        (BIMONTHLY, _("Bimonthly")),
        (QUARTERLY, _("Quarterly")),
        (YEARLY, _("Yearly")),
        (CRON, _("Cron")),
        (SECONDS, _("Seconds")),
    )

    id = models.CharField(max_length=200, primary_key=True, editable=False, default=None)
    name = models.CharField(
        max_length=200, null=True, blank=True, verbose_name=_("name"), help_text=_("Unique in the queue.")
    )
    func = models.CharField(
        max_length=256, verbose_name=_("function"), help_text=_("e.g. module.tasks.function")
    )
    hook = models.CharField(
        max_length=256, null=True, blank=True, verbose_name=_("hook"),
        help_text=_("e.g. module.tasks.result_function"),
    )  # fmt: skip
    args = models.TextField(
        null=True, blank=True, verbose_name=_("arguments"), help_text=_("e.g. 1, 2, 'John'")
    )
    kwargs = models.TextField(
        null=True, blank=True, verbose_name=_("keyword arguments"),
        help_text=_("e.g. x=1, y=2, name='John'"),
    )  # fmt: skip
    schedule_type = models.CharField(
        max_length=2, choices=TYPE, default=ONCE, verbose_name=_("schedule type")
    )
    minutes = models.PositiveIntegerField(
        null=True,
        blank=True,
        verbose_name=_("minutes"),
        help_text=_("Number of minutes for the type Minutes"),
    )
    seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        verbose_name=_("seconds"),
        help_text=_("Number of seconds for the type Seconds"),
    )
    repeats = models.IntegerField(
        default=-1, verbose_name=_("repeats"), help_text=_("n = n times, -1 = forever, 0 = paused")
    )
    next_run = models.DateTimeField(default=timezone.now, null=True, verbose_name=_("next run"))
    cron = models.CharField(
        max_length=100, null=True, blank=True, validators=[validate_cron], verbose_name=_("cron"),
        help_text=_("Cron expression, e.g. 0 8 * * 1-5"),
    )  # fmt: skip
    cluster = models.CharField(
        max_length=80, default=None, null=True, blank=True, verbose_name=_("cluster"),
        help_text=_("Name of the queue that its tasks are put on; the site's own if empty"),
    )  # fmt: skip
    intended_date_kwarg = models.CharField(
        max_length=100, null=True, blank=True, validators=[validate_kwarg],
        verbose_name=_("intended date kwarg"), help_text=_("Argument that is given the time of the slot"),
    )  # fmt: skip

    class Meta:
        abstract = True

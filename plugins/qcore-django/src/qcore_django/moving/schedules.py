"""Decides what a schedule of Django-Q becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.errors import QcoreError
from qcore.tasks.task import bind
from qcore_calendar.when import When
from qcore_django.cron import cron_of
from qcore_django.literals import args_of, kwargs_of, literal
from qcore_django.models import native
from qcore_django.moving.report import Report
from qcore_django.moving.tables import OldSchedule, Table, title_of
from qcore_django.shared import app
from qcore_django.tasks.options import SCHEDULE_TYPES, lifted, options_of
from qcore_schedules.build import check_broker, draft
from qcore_schedules.sealed import stored_schedules
from qcore_schedules.swap import swap

if TYPE_CHECKING:
    from qcore.tasks.call import Options
    from qcore_calendar.schedule import Schedule
    from qcore_django.moving.tables import Row

#: what is written into the column of the last task of a row that is moved, which Django-Q writes itself
_MOVED: Final = "moved to qcore"
#: characters of a function's name in the name of its schedule, which has 200 at most
_SHOWN: Final = 160
#: what says that a schedule cannot be one of qcore's
_REFUSALS: Final = (QcoreError, TypeError, ValueError)


def move_schedules(alias: str, *, dry_run: bool) -> Report:
    """Create the schedules that a database has; each keeps its next run.

    The old rows stay, with a mark. A schedule that was moved, or whose name is taken, is left alone.
    """
    report, table = Report("schedules"), Table(OldSchedule, alias)
    taken = {one.name for one in native.existing()}
    seen: set[str] = set()
    for row in table.rows():
        name = _name_of(row, seen)
        if row["next_run"] is None:
            report.notes.append(f"schedule {title_of(row)} has no next run, so that Django-Q never ran it")
            continue
        if row.get("task") == _MOVED or name in taken:
            report.before += 1
            continue
        try:
            made = _made(row, name, report)
            check_broker(app.runtime, made)
        except _REFUSALS as exc:
            report.problems.append(f"schedule {title_of(row)}: {exc}")
            continue
        report.moved += 1
        if not dry_run:
            _create(made)
            table.change(row["id"], task=_MOVED)
    return report


def _name_of(row: Row, seen: set[str]) -> str:
    """Return the name of the new schedule, the same in each run."""
    own = "".join(char if char.isprintable() else " " for char in row.get("name") or "")
    # Names were unique only for those that `schedule` has made.
    if not own or own in seen:
        return f"{own or row['func'][:_SHOWN]} (django-q {row['id']})"
    seen.add(own)
    return own


def _made(row: Row, name: str, report: Report) -> Schedule:
    options, kwargs = lifted(_named(row, report))
    made = bind(row["func"], _positional(row), kwargs, _options(row, options))
    return draft(app.runtime, made, _when(row, name))


def _positional(row: Row) -> tuple[Any, ...]:
    try:
        return args_of(row["args"] or "")
    except ValueError as exc:
        raise ValueError(f"its arguments {row['args']!r:.200} are not Python literals") from exc


def _named(row: Row, report: Report) -> dict[str, Any]:
    text = row["kwargs"] or ""
    try:
        return kwargs_of(text)
    except ValueError as exc:
        if _is_literal(text):
            # Django-Q could not fire the schedule.
            said = f"its keyword arguments {text!r:.200} are neither a dict nor like a=1, b=2"
            raise ValueError(said) from exc
        report.notes.append(
            f"schedule {title_of(row)}: its keyword arguments {text!r:.200} are not Python literals;"
            " Django-Q called it without, and so does qcore"
        )
        return {}


def _is_literal(text: str) -> bool:
    try:
        literal(text)
    except ValueError:
        return False
    return True


def _options(row: Row, options: dict[str, Any]) -> Options:
    cluster = row.get("cluster") or options.get("cluster") or options.pop("broker_name", None)
    options.pop("broker_name", None)
    hook = row["hook"] or options.get("hook")
    group = options.get("group") or row.get("name") or str(row["id"])
    return options_of({**options, "cluster": cluster, "hook": hook, "group": group})


def _when(row: Row, name: str) -> When:
    kind = SCHEDULE_TYPES.get(row["schedule_type"])
    if kind is None:
        raise ValueError(f"{row['schedule_type']!r} is not a type of schedule")
    return When(
        name=name,
        type=kind,
        minutes=(row.get("minutes") or 1) if kind == "minutes" else None,
        cron=cron_of(row.get("cron") or "") if kind == "cron" else None,
        repeats=max(row["repeats"], -1),
        next_run=row["next_run"],
        intended_date_kwarg=row.get("intended_date_kwarg") or None,
    )


def _create(made: Schedule) -> None:
    with stored_schedules(app.runtime, create=True) as store:
        # Whoever has made one of this name meanwhile has meant it.
        swap(store, made.name, lambda before: made if before is None else before)

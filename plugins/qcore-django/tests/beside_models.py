"""Uses the models of Django-Q and those of this package alike, and prints what each did.

Run with two arguments: the name of the package, `django_q` or `qcore_django`, and a folder.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable

#: a slot that no test is late for
LATER = datetime(2077, 5, 31, 8, 30, tzinfo=UTC)


def main(package: str, folder: str) -> None:
    """Print what each scene has returned, as JSON."""
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", package],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/site.db"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY="a key for both of them, 0123456789-0123456789",
        USE_TZ=True,
        TIME_ZONE="Europe/Berlin",
        Q_CLUSTER={"name": "both", "timeout": 20, "retry": 30, "log_level": "CRITICAL", "orm": "default"},
    )
    warnings.simplefilter("ignore")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    models = importlib.import_module(f"{package}.models")
    tasks = importlib.import_module(f"{package}.tasks")
    said = {scene.__name__: scene(models, tasks) for scene in SCENES}
    print(json.dumps(said, sort_keys=True, default=str))


def constants(models: Any, tasks: Any) -> Any:
    """The types of schedules."""
    found = {letter: str(title) for letter, title in models.Schedule.TYPE if letter != "S"}
    return [found, [getattr(models.Schedule, title.upper()) for title in found.values()]]


def creating(models: Any, tasks: Any) -> Any:
    """What is stored of a new schedule."""
    made = models.Schedule.objects.create(
        func="math.copysign", args="2, -2", kwargs="key='value'", name="made", schedule_type="W",
        next_run=LATER, repeats=3, hook="site_tasks.note", cluster="both",
    )  # fmt: skip
    again = models.Schedule.objects.get(name="made")
    said = [
        str(again.func), again.repeats, again.next_run, again.schedule_type, again.hook, again.cron,
        again.minutes, again.pk == made.pk, again == made, made._state.adding, again.success(),
        again.last_run(),
    ]  # fmt: skip
    minutes = models.Schedule.objects.create(func="math.floor", schedule_type="I", minutes=7, next_run=LATER)
    return [*said, minutes.minutes, models.Schedule.objects.count()]


def changing(models: Any, tasks: Any) -> Any:
    """Save, update_or_create, get_or_create and update."""
    objects = models.Schedule.objects
    made, created = objects.update_or_create(
        name="changing", defaults={"func": "math.floor", "args": "1.5", "next_run": LATER}
    )
    said = [created, made.schedule_type, made.repeats]
    made, created = objects.update_or_create(
        name="changing", defaults={"schedule_type": models.Schedule.DAILY, "repeats": 9}
    )
    said += [created, made.schedule_type, made.repeats, made.next_run]
    made, created = objects.get_or_create(name="changing", defaults={"func": "never.used"})
    said += [created, made.func]
    made.repeats = 0
    made.save()
    said += [objects.get(name="changing").repeats]
    said += [objects.filter(name="changing").update(repeats=4), objects.get(name="changing").repeats]
    made = objects.get(name="changing")
    made.next_run = LATER + timedelta(days=1)
    made.name, made.func = "another", "math.ceil"
    made.save()
    said += [made.next_run, objects.filter(name="changing").exists(), objects.get(name="another").func]
    return said


def next_runs(models: Any, tasks: Any) -> Any:
    """The slot after the next one, over a change of the clocks too."""
    found = {}
    for letter in "IHDWMQY":
        for first in (datetime(2027, 3, 27, 7, 30, tzinfo=UTC), datetime(2028, 2, 29, 12, 0, tzinfo=UTC)):
            made = models.Schedule(func="math.floor", schedule_type=letter, minutes=5, next_run=first)
            found[f"{letter} {first}"] = made.calculate_next_run().astimezone(UTC)
    return found


def filtering(models: Any, tasks: Any) -> Any:
    """Lookups, order, slices, values and deletion."""
    objects = models.Schedule.objects
    objects.all().delete()
    for number, name in enumerate(["apple", "banana", "cherry"]):
        objects.create(
            name=name, func="math.floor", args=str(number), schedule_type="HDH"[number],
            next_run=LATER + timedelta(days=number), repeats=number or -1,
        )  # fmt: skip
    from django.db.models import Q

    def names(found: Any) -> list[str]:
        return [one.name for one in found]

    return [
        names(objects.all()),
        names(objects.filter(schedule_type="H").order_by("-next_run")),
        names(objects.exclude(schedule_type="H")),
        names(objects.filter(Q(name__startswith="a") | Q(repeats__gte=2))),
        names(objects.filter(name__icontains="AN", func="math.floor")),
        names(objects.filter(next_run__gt=LATER)[:1]),
        names(objects.filter(next_run__date__lte=LATER.date())),
        names(objects.filter(name__in=["apple", "cherry", "plum"])),
        names(objects.filter(cluster__isnull=True)),
        list(objects.order_by("name").values_list("name", flat=True)),
        list(objects.order_by("-name").values("name", "repeats")),
        list(objects.order_by("schedule_type").values_list("schedule_type", flat=True).distinct()),
        objects.first().name,
        objects.last().name,
        names(objects.reverse()),
        objects.none().count(),
        objects.filter(name="plum").first(),
        _raised(lambda: objects.get(name="plum")),
        _raised(lambda: objects.get(func="math.floor")),
        objects.filter(name="apple").delete()[0],
        objects.count(),
        len(objects.all()),
        objects.get(name="cherry").delete()[0],
        objects.exists(),
    ]


def results(models: Any, tasks: Any) -> Any:
    """The models of results."""
    made = [
        tasks.async_task("math.floor", 1.5, sync=True, group="results", task_name="first"),
        tasks.async_task("math.floor", 2.5, sync=True, group="results", task_name="second"),
    ]
    objects = models.Task.objects
    first = objects.get(id=made[0])
    return [
        sorted(one.name for one in objects.filter(group="results")),
        [first.result, first.func, list(first.args), first.kwargs, first.group, first.success],
        [first.attempt_count, first.time_taken() >= 0, str(first), first.started <= first.stopped],
        models.Success.objects.filter(group="results").count(),
        models.Failure.objects.count(),
        objects.filter(success=True, name="first").count(),
        objects.filter(success=False).count(),
        objects.filter(started__lte=datetime.now(UTC), stopped__gt=first.started).count(),
        objects.exclude(name="first").filter(func__contains="floor").count(),
        objects.get(name="second").result,
        models.Task.get_task("second").id == made[1],
        models.Task.get_task(made[1]).name,
        models.Task.get_task("no-such-name-here"),
        models.Task.get_result("first"),
        sorted(models.Task.get_result_group("results")),
        models.Task.get_group_count("results"),
        sorted(first.group_result()),
        first.group_count(failures=True),
        [type(found).__name__.endswith("QuerySet") for found in [tasks.fetch_group("results")]],
        tasks.fetch_group("results").filter(name="first").count(),
        tasks.fetch_group("no-such-group"),
        objects.filter(name="first").delete()[0],
        objects.filter(group="results").update(group=None),
        objects.filter(group="results").count(),
        objects.get(name="second").delete()[0],
        objects.count(),
    ]


def queued(models: Any, tasks: Any) -> Any:
    """The model of the queue."""
    tasks.async_task("math.floor", 1.5, group="queued", task_name="waits")
    objects = models.OrmQ.objects
    one = objects.get()
    return [
        objects.count(), one.key, one.func(), one.name(), one.group(), list(one.args()), one.kwargs(),
        len(one.task_id()), one.task["id"] == one.task_id(), objects.filter(key="both").count(),
        objects.all().delete()[0], objects.count(), tasks.queue_size(),
    ]  # fmt: skip


def _raised(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except Exception as exc:
        return type(exc).__name__


SCENES = (constants, creating, changing, next_runs, filtering, results, queued)

if __name__ == "__main__":
    main(*sys.argv[1:])

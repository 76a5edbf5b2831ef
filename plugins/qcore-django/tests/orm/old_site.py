"""Fills a database by django-q2 as a site does, and prints the ids of its tasks.

Run with the path of an SQLite file.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import warnings

import django
from django.conf import settings

#: of the first run of each schedule, a day on which each clock is as always
FIRST = dt.datetime(2040, 1, 31, 4, 30, tzinfo=dt.UTC)


def main(path: str) -> None:
    """Fill it."""
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_q"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY="the-key-of-the-site-under-test-0123456789-0123456789",
        USE_TZ=True,
        TIME_ZONE="Europe/Berlin",
        Q_CLUSTER={
            "name": "My Site",
            "orm": "default",
            "timeout": 20,
            "retry": 30,
            "compress": True,
            "log_level": "CRITICAL",
        },
    )
    warnings.simplefilter("ignore")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    schedules()
    print(json.dumps({"results": results(), "waiting": waiting()}))


def schedules() -> None:
    """Make one schedule of each type, and what else there may be."""
    from django_q.models import Schedule
    from django_q.tasks import schedule

    for letter, name in Schedule.TYPE:
        more = {"cron": "*/5 4 * * 1-5"} if letter == "C" else {"minutes": 15} if letter == "I" else {}
        made = schedule("site_tasks.add", 1, 2, name=f"by {name}", schedule_type=letter, **more)
        Schedule.objects.filter(pk=made.pk).update(next_run=FIRST)
    rows = {
        "options": {
            "kwargs": "a=1, b=2, q_options={'timeout': 9, 'group': 'sums', 'save': True}",
            "hook": "site_tasks.note",
            "cluster": "My Reports",
            "intended_date_kwarg": "day",
            "repeats": 3,
        },
        "one value": {"func": "math.sqrt", "args": "4.0"},
        "paused": {"args": "1, 2", "repeats": 0},
        "seconds": {"schedule_type": "C", "cron": "*/5 4 * * 1-5 30"},
        "twice": {"args": "1, 1"},
        "": {"args": "'no name', 1"},
        "code": {"args": "open('/etc/passwd'), 1"},
        "bad words": {"func": "site_tasks.echo", "kwargs": "not python"},
        "bad cron": {"schedule_type": "C", "cron": "* * * *"},
        "no run": {"args": "1, 2"},
    }
    made = []
    for name, fields in [*rows.items(), ("twice", {"args": "2, 2"})]:
        daily = {"func": "site_tasks.add", "schedule_type": "D", "repeats": -2}
        made.append(Schedule(name=name or None, next_run=FIRST, **{**daily, **fields}))
    Schedule.objects.bulk_create(made)
    Schedule.objects.filter(name="no run").update(next_run=None)


def results() -> dict[str, str]:
    """Run tasks in this process."""
    from django.contrib.auth.models import Group
    from django_q.models import Task
    from django_q.tasks import async_task

    made = {
        "sum": async_task("site_tasks.add", 1, b=2, sync=True, group="sums", task_name="a sum"),
        "fraction": async_task("fractions.Fraction", "1/3", sync=True),
        "model": async_task("site_tasks.echo", Group.objects.create(name="staff"), sync=True),
    }
    row = Task.objects.get(id=made["sum"])
    made["failure"] = "f" * 32
    error = "no luck : Traceback (most recent call last):\n  File 'x'\nValueError: no luck\n"
    Task.objects.create(
        id=made["failure"], name="bad", func="site_tasks.fail", args=("no luck",), kwargs={}, result=error,
        started=row.started, stopped=row.stopped, success=False, attempt_count=4, group="sums",
    )  # fmt: skip
    return made


def waiting() -> list[str]:
    """Enqueue tasks that nobody has run."""
    from django.utils import timezone
    from django_q.models import OrmQ
    from django_q.signing import SignedPackage
    from django_q.tasks import Chain, async_iter, async_task

    ids = [
        async_task(
            "site_tasks.add", 1, b=2, timeout=9, group="sums", hook="site_tasks.note", task_name="waits"
        ),
        async_task("site_tasks.add", 3, 4, cluster="My Reports"),
    ]
    chain = Chain(group="chained")
    chain.append("site_tasks.add", 5, 6)
    chain.append("site_tasks.echo", 7, key=8)
    chain.run()
    async_iter("site_tasks.echo", [1, 2])
    async_task("site_tasks.add", 9, 9)
    leased = OrmQ.objects.latest("pk")
    leased.lock = timezone.now() + dt.timedelta(days=1)
    leased.save()
    now = timezone.now()
    OrmQ.objects.create(key="My Site", payload=SignedPackage.dumps({"id": 1})[:-2] + "xx", lock=now)
    return ids


if __name__ == "__main__":
    main(*sys.argv[1:])

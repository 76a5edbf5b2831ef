"""django-q2 on its Redis broker."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import django
from django.conf import settings

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import PORT, RESULTS, URL, WORKERS, Call, launch, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["hit", "hits", "job", "jobs", "start", "stop"]

_NAME = "tests.benchmarks.onredis.peers.django_q2_redis"

if not settings.configured:
    settings.configure(
        SECRET_KEY="only ever used for the benchmark's own tasks",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_q"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL}},
        LOGGING_CONFIG=None,
        USE_TZ=True,
        Q_CLUSTER={
            "name": "bench",
            "workers": WORKERS,
            "redis": {"host": "127.0.0.1", "port": PORT, "db": 0},
            "queue_limit": 500,
            "recycle": 1_000_000,
            "timeout": 60,
            "retry": 120,
            "save_limit": -1,
            "cached": 600 if RESULTS else False,
            "scheduler": False,
            "log_level": "CRITICAL",
        },
    )
    django.setup()

from django_q.tasks import async_task  # noqa: E402 - after the settings


def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        async_task(f"{_NAME}.hit", index)


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    for call in calls:
        async_task(f"{_NAME}.job", *call)


def start() -> list[int]:
    """Start the cluster."""
    return [launch(sys.executable, "-m", _NAME)]


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", "qcluster"])

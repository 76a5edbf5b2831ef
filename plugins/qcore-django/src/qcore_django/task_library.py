"""Finds the tasks of Django: its own, or those of the package."""

from __future__ import annotations

try:
    from django.tasks import base, exceptions, signals, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.utils.json import normalize_json

    InvalidTask = exceptions.InvalidTask
except ImportError:
    try:
        from django_tasks import base, exceptions, signals, task_backends
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.utils import normalize_json
    except ImportError as exc:
        msg = (
            "qcore_django.backend needs django.tasks, which Django has from version 6.0 on; with an older "
            "Django install the package django-tasks, which offers the same"
        )
        raise ImportError(msg) from exc
    InvalidTask = exceptions.InvalidTaskError

__all__ = [
    "BaseTaskBackend",
    "InvalidTask",
    "base",
    "exceptions",
    "normalize_json",
    "signals",
    "task_backends",
]

"""The integration of Sentry's SDK for Django, in a worker of a site."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Sentry

#: the site sets the SDK up itself, as Sentry's documentation for Django says
BY_THE_SITE = """
import sentry_sdk
from sentry_sdk.integrations.django import DjangoIntegration

sentry_sdk.init(dsn={dsn!r}, integrations=[DjangoIntegration()], auto_enabling_integrations=False)
REPORTER = {{}}
"""
#: we set it up
BY_US = """
REPORTER = {{
    "dsn": {dsn!r},
    "integrations": ["sentry_sdk.integrations.django.DjangoIntegration"],
    "auto_enabling_integrations": False,
}}
"""
SETTINGS = """
SECRET_KEY = "canary-of-the-key-0123456789-0123456789"
INSTALLED_APPS = ["django.contrib.contenttypes", "qcore_django", "sentry_shop"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}}}
Q_CLUSTER = {{
    "name": "shop",
    "workers": 1,
    "max_attempts": 1,
    "sqlite": {{"path": "queue.sqlite3"}},
    "error_reporter": {{"sentry": REPORTER, "log": {{}}}},
}}
"""
TASKS = """
import logging

from django.db import connection
from qcore_django import task


@task
def pay(card):
    connection.ensure_connection()
    raise ValueError("declined")


@task
def ship(number):
    try:
        raise LookupError("returned")
    except LookupError:
        logging.getLogger("sentry_shop").exception("not shipped")
        raise
"""
ENQUEUE = """
import django

django.setup()
from sentry_shop.tasks import pay, ship

pay.enqueue("canary-card")
ship.enqueue(1)
"""


@pytest.mark.parametrize("set_up", [BY_THE_SITE, BY_US], ids=["the site", "the reporter"])
def test_each_failed_task_of_a_site_is_one_event(sentry: Sentry, tmp_path: Path, set_up: str) -> None:
    """Whoever sets the SDK up, and also if the task has logged what it raises."""
    if importlib.util.find_spec("qcore_django") is None:
        pytest.skip("there is no qcore-django; install that package")
    files = {
        "sentry_site.py": set_up.format(dsn=sentry.dsn) + SETTINGS.format(),
        "sentry_shop/__init__.py": "",
        "sentry_shop/tasks.py": TASKS,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QCORE", "DJANGO"))}
    env = kept | {"DJANGO_SETTINGS_MODULE": "sentry_site", "XDG_STATE_HOME": str(tmp_path)}

    for program in (["-c", ENQUEUE], ["-m", "django", "qcluster", "--run-once"]):
        ran = subprocess.run(
            [sys.executable, *program],
            cwd=tmp_path,
            env={**env, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    plain, logged = sorted(sentry.items("event"), key=lambda event: event.get("logger") or "")
    assert plain["tags"]["qcore.task"] == "sentry_shop.tasks.pay"
    assert plain["exception"]["values"][-1]["value"] == "declined"
    assert (logged["logger"], logged["exception"]["values"][-1]["value"]) == ("sentry_shop", "returned")
    assert "django" in plain["sdk"]["integrations"]
    assert not sentry.canaries()

"""Sets Django up in the process that forks the workers."""

from __future__ import annotations

import os

import django
from django.conf import ENVIRONMENT_VARIABLE, settings

from qcore.errors import ConfigError
from qcore_django.boundary import BOUNDARY
from qcore_django.discovery import autodiscover
from qcore_logs.setup import respect_program


def set_up() -> None:
    """Import the site: its settings, its models and its tasks, which all workers then share.

    Raises:
        ConfigError: the site's settings are in no module that this process could import.

    """
    if not settings.configured and not os.environ.get(ENVIRONMENT_VARIABLE):
        why = "workers are processes of their own and import the settings of the site by this name"
        remedy = "set it before the cluster is started, as manage.py does"
        raise ConfigError([f"{ENVIRONMENT_VARIABLE}: not set; {why}: {remedy}"])
    django.setup()
    respect_program()
    autodiscover()
    BOUNDARY.close_before_forks()


set_up()

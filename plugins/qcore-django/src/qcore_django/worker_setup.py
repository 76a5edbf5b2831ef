"""Sets Django up in the process that forks the workers."""

from __future__ import annotations

import logging
import os
from typing import Final

import django
from django.conf import ENVIRONMENT_VARIABLE, settings

from qcore.errors import ConfigError
from qcore.logs import SanitizingFormatter
from qcore_django.boundary import BOUNDARY
from qcore_django.discovery import autodiscover

_OURS: Final = "qcore"


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
    _respect_logging()
    autodiscover()
    BOUNDARY.close_before_forks()


def _respect_logging() -> None:
    """Undo what the site's LOGGING did not mean: it was written for processes that begin with it."""
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{_OURS}."):
            # `disable_existing_loggers` is true where nothing else is said.
            logger.disabled = False
    if logging.getLogger(_OURS).handlers:
        for handler in list(logging.root.handlers):
            if isinstance(handler.formatter, SanitizingFormatter):
                logging.root.removeHandler(handler)


set_up()

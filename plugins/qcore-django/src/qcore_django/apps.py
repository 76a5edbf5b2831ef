"""The app that a site lists in INSTALLED_APPS."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig

from qcore_django import settings


class QcoreDjangoConfig(AppConfig):
    """Tells Django of this app."""

    name = "qcore_django"
    label = "qcore_django"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verbose_name = settings.label()

    def ready(self) -> None:
        """Have the types of Django travel as arguments, and the settings checked."""
        # They import models, which are not there before.
        from qcore_django.arguments import register_types  # noqa: PLC0415 - see above
        from qcore_django.checks import register_checks  # noqa: PLC0415 - see above

        register_types()
        register_checks()

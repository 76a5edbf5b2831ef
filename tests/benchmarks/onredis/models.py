"""A Django program with forty models, which a worker of each system loads."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

#: models of the program, besides those of Django's own apps, and fields of each
_MODELS: Final = 40
_FIELDS: Final = 12


def load() -> None:
    """Set Django up."""
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        SECRET_KEY="of the benchmark",
        USE_TZ=True,
    )
    django.setup()
    _declare()


def _declare() -> None:
    from django.db import models

    module = sys.modules["bench_models"] = ModuleType("bench_models")
    for number in range(_MODELS):
        fields: dict[str, object] = {
            f"field_{field}": models.CharField(max_length=100, blank=True, help_text="one of many")
            for field in range(_FIELDS)
        }
        name = f"Model{number}"
        meta = type("Meta", (), {"app_label": "bench"})
        model = type(models.Model)(
            name, (models.Model,), {**fields, "Meta": meta, "__module__": module.__name__}
        )
        setattr(module, name, model)

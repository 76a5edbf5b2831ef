"""A Django site, set up once in each process that runs these tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
import pytest
from django.conf import settings

#: where the settings of the site lie
HERE = Path(__file__).parent


def _set_up() -> None:
    # before a test module is imported, which imports models
    sys.path.append(str(HERE))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
    if not settings.configured:
        import site_settings

        settings.configure(**{name: value for name, value in vars(site_settings).items() if name.isupper()})
        django.setup()


_set_up()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the queues of a test in a folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path

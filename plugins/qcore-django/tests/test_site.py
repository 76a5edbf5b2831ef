"""What a site's settings make of the one App."""

from __future__ import annotations

from django.apps import apps
from django.test import override_settings

from qcore_django import app
from qcore_django.apps import QcoreDjangoConfig


def test_the_app_is_listed_under_its_label() -> None:
    """The section is titled Django Q, as the sites know it."""
    assert apps.get_app_config("qcore_django").verbose_name == "Django Q"


def test_the_label_of_q_cluster_titles_the_section() -> None:
    """A site's own label wins."""
    installed = apps.get_app_config("qcore_django")

    with override_settings(Q_CLUSTER={"label": "Background"}):
        made = QcoreDjangoConfig("qcore_django", installed.module)

    assert made.verbose_name == "Background"


def test_a_changed_setting_takes_effect() -> None:
    """The configuration is read when it is used, and again after override_settings."""
    with override_settings(Q_CLUSTER={"name": "first", "workers": 3}):
        assert (app.config.name, app.config.workers) == ("first", 3)
    with override_settings(Q_CLUSTER={"name": "second"}):
        assert app.config.name == "second"

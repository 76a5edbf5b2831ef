"""Reads the configuration of a queue from Django settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from qcore import Config

if TYPE_CHECKING:
    from qcore.plugins import Plugins

#: the settings of Django that are read; a change of one takes effect at the next use
READ: Final = frozenset({"Q_CLUSTER", "SECRET_KEY", "SECRET_KEY_FALLBACKS"})
#: the title of the admin's section on a site that names none
LABEL: Final = "Django Q"


def load(plugins: Plugins | None = None) -> Config:
    """Return the configuration that the settings of this site make.

    Raises:
        ConfigError: with all problems.

    """
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return Config.from_dict({"label": LABEL, "secret_key": keys, **table()}, plugins)


def table() -> dict[str, Any]:
    """Return `Q_CLUSTER` as it is written, empty if the site has none."""
    return dict(getattr(settings, "Q_CLUSTER", None) or {})


def label() -> str:
    """Return the title of the admin's section."""
    return str(table().get("label") or LABEL)

"""The one App of a site, for producers and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed

from qcore import App
from qcore_django import settings
from qcore_django.delivery import AtCommit, SiteDelivery
from qcore_django.queue_names import queue_name
from qcore_text.wording import typed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from qcore import Config
    from qcore.delivery import Delivery


class SiteApp(App):
    """An App whose configuration is that of the Django settings, read at first use."""

    def __init__(self) -> None:
        super().__init__()
        self._switch.delivery = AtCommit(SiteDelivery())

    @property
    def config(self) -> Config:
        """The configuration, read from the settings at first use."""
        if self._config is None:
            self._config = settings.load(self._plugins)
        return self._config

    def for_cluster(self, name: str) -> App:
        """Return the App of another cluster, by its name or by that which it has in Django-Q."""
        return super().for_cluster(queue_name(name))

    def deliver_to(self, delivery: Delivery) -> AbstractContextManager[None]:
        """Have `delivery` take what is enqueued in this block, at a commit if that is asked for."""
        return super().deliver_to(AtCommit(delivery))

    def reread(self) -> None:
        """Close connections; the next use reads the settings again."""
        self.close()
        self._config = None


def type_behind_manage() -> None:
    """Have messages tell commands as they are typed on a site."""
    typed.through("manage.py qcore", {"run": "manage.py qcluster"})


type_behind_manage()
#: the App of this site
app = SiteApp()
#: declares a task of this site
task = app.task


def on_setting_changed(*, setting: str, **_: Any) -> None:
    """Have a changed setting take effect, as `override_settings` does in a test."""
    if setting in settings.READ:
        app.reread()


setting_changed.connect(on_setting_changed, dispatch_uid="qcore_django.shared")

"""The one App of a site, for producers and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed

from qcore import App
from qcore_django import settings
from qcore_django.delivery import AtCommit, SiteDelivery

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

    def deliver_to(self, delivery: Delivery) -> AbstractContextManager[None]:
        """Have `delivery` take what is enqueued in this block, at a commit if that is asked for."""
        return super().deliver_to(AtCommit(delivery))

    def reread(self) -> None:
        """Close connections; the next use reads the settings again."""
        self.close()
        self._config = None


#: the App of this site
app = SiteApp()
#: declares a task of this site
task = app.task


def on_setting_changed(*, setting: str, **_: Any) -> None:
    """Have a changed setting take effect, as `override_settings` does in a test."""
    if setting in settings.READ:
        app.reread()


setting_changed.connect(on_setting_changed, dispatch_uid="qcore_django.shared")

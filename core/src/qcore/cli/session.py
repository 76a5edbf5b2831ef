"""What the commands share: plugins, configuration and App, each made once."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING

import click

from qcore.app import App
from qcore.config import Config
from qcore.plugins import Plugins

if TYPE_CHECKING:
    from qcore.runtime import Runtime


class Session:
    """One run of the command line; `ctx.obj` of every command, a plugin's too."""

    def __init__(self, config_file: str | None = None, switched: tuple[str, ...] = ()) -> None:
        self.config_file = config_file
        #: plugins that are switched off
        self.blocked = tuple(_name_in(one) for one in switched)

    @cached_property
    def plugins(self) -> Plugins:
        """What is installed."""
        # As with python -m: the configuration may name modules of the working directory.
        here = os.getcwd()  # noqa: PTH109 - sys.path holds text
        if here not in sys.path and "" not in sys.path:
            sys.path.insert(0, here)
        return Plugins.discover(self.blocked)

    @cached_property
    def config(self) -> Config:
        """The configuration, from the file named or found, and the environment."""
        return Config.load(self.config_file, plugins=self.plugins)

    @cached_property
    def app(self) -> App:
        """The App of the configured queue."""
        return App(self.config, plugins=self.plugins)

    def close(self) -> None:
        """Close connections, if there are any."""
        if "app" in vars(self):
            self.app.close()

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""
        return self.app.runtime


def _name_in(switch: str) -> str:
    what, colon, name = switch.partition(":")
    if what != "no" or not colon or not name:
        msg = f"-p {switch!r}: only plugins can be switched off, with -p no:NAME"
        raise click.UsageError(msg)
    return name

"""What this plugin offers, by name."""

# ruff: noqa: PLC0415 - what a factory needs is imported when it is asked for, not before

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click


@hookimpl
def qcore_commands() -> Mapping[str, Callable[[], click.Command]]:
    """Offer the commands `monitor` and `memory`."""
    return {"monitor": _monitor, "memory": _memory}


def _monitor() -> click.Command:
    """Watch the queue on the whole screen."""
    from qcore_monitor.command import command

    return command


def _memory() -> click.Command:
    """Show the memory of clusters and workers."""
    from qcore_monitor.memory import command

    return command

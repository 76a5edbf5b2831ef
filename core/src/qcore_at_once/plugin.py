"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.workers.sharing import RunsAtOnce


@hookimpl
def qcore_task_runners() -> Mapping[str, Callable[[], RunsAtOnce]]:
    """Offer an event loop and threads."""
    return {"at_once": _at_once}


def _at_once() -> RunsAtOnce:
    from qcore_at_once.sharing import AtOnce

    return AtOnce()

"""Lists what this plugin offers, by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from qcore.hookspecs import ExecuteEvent, WorkerEvent
    from qcore_django.boundary import Boundary

#: imported in the processes of a site, and in no other process where this package is installed
_BOUNDARY: Final = "qcore_django.boundary"


@hookimpl
def qcore_worker_start(event: WorkerEvent) -> None:
    """Treat the tasks of this worker as requests of the site."""
    del event
    if boundary := _boundary():
        boundary.enter_worker()


@hookimpl
def qcore_pre_execute(event: ExecuteEvent) -> None:
    """Let go of connections that are too old."""
    del event
    if boundary := _boundary():
        boundary.before_task()


@hookimpl
def qcore_post_execute(event: ExecuteEvent) -> None:
    """Leave connections, language and time zone as the task found them."""
    del event
    if boundary := _boundary():
        boundary.after_task()


def _boundary() -> Boundary | None:
    found = sys.modules.get(_BOUNDARY)
    return None if found is None else found.BOUNDARY

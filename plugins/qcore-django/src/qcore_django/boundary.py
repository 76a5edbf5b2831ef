"""Decides what a worker does for Django around each task."""

from __future__ import annotations

import logging
import os
from typing import Final

from django.core.cache import close_caches
from django.db import close_old_connections, connections, reset_queries
from django.utils import timezone, translation

_log = logging.getLogger("qcore.django")


class Boundary:
    """What a request has at its begin and its end, for tasks.

    It does nothing until this process is a worker: a task that runs at once in the process that
    enqueues it is part of that process's request, test or transaction.
    """

    def __init__(self) -> None:
        self._in_worker = False
        #: the connections were looked at since the last task
        self._fresh = False

    def close_before_forks(self) -> None:
        """Have this process, and not its children, close its connections before each fork."""
        pid = os.getpid()
        close_connections()
        # What is opened later, by a broker that is tried or a module that is imported, is closed too.
        os.register_at_fork(before=lambda: close_connections() if os.getpid() == pid else None)

    def enter_worker(self) -> None:
        """From now on tasks are runs of this worker."""
        self._in_worker = True

    def before_task(self) -> None:
        """Let go of connections that have become too old or do not answer, once for each task."""
        if self._in_worker and not self._fresh:
            self._fresh = True
            reset_queries()
            close_old_connections()

    def after_task(self) -> None:
        """Leave nothing of a task to the next: transactions, old connections, language, time zone."""
        if self._in_worker:
            self._fresh = False
            _end_transactions()
            close_old_connections()
            close_caches()
            translation.deactivate()
            timezone.deactivate()


def close_connections() -> None:
    """Close the connections of this thread, and the pools they come from."""
    for one in connections.all(initialized_only=True):
        one.close()
        if close_pool := getattr(one, "close_pool", None):
            close_pool()


def _end_transactions() -> None:
    """Roll back what a task has left open, for example because it was interrupted as it committed."""
    for one in connections.all(initialized_only=True):
        if one.in_atomic_block:
            _log.warning("a task left a transaction open; it is rolled back, database=%s", one.alias)
            one.close()
            # A wrapper that was closed inside of a transaction opens nothing any more.
            del connections[one.alias]


#: that of this process
BOUNDARY: Final = Boundary()

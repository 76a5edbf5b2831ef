"""Decides what a worker does for Django around each task."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from asgiref.sync import SyncToAsync
from django.core.cache import close_caches
from django.db import close_old_connections, connections, reset_queries
from django.utils import timezone, translation

if TYPE_CHECKING:
    from collections.abc import Callable

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
            _in_each_thread(_begin)

    def after_task(self) -> None:
        """Leave nothing of a task to the next: transactions, old connections, language, time zone."""
        if self._in_worker:
            self._fresh = False
            _in_each_thread(_end)
            translation.deactivate()
            timezone.deactivate()


def close_connections() -> None:
    """Close the connections of this thread, and the pools they come from."""
    for one in connections.all(initialized_only=True):
        one.close()
        if close_pool := getattr(one, "close_pool", None):
            close_pool()


def _in_each_thread(act: Callable[[], None]) -> None:
    """Act in this thread, and in that where Django runs what an asynchronous task asks of a database."""
    act()
    # Its connections are of that thread, so that no other could close them.
    executor = SyncToAsync.single_thread_executor
    # To submit anything would start the thread, and would wait for ever for one that a fork left behind.
    if any(one.is_alive() for one in executor._threads):  # noqa: SLF001 - nothing else tells
        executor.submit(act).result()


def _begin() -> None:
    reset_queries()
    close_old_connections()


def _end() -> None:
    _end_transactions()
    close_old_connections()
    close_caches()


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

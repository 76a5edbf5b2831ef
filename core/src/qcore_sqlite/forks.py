"""Ensures that no thread is inside SQLite while the process forks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Forkable(Protocol):
    """An object that no thread may use while the process forks."""

    def before_fork(self) -> None:
        """Close everything that a child would inherit, and block other threads."""

    def after_fork(self) -> None:
        """Unblock other threads."""

    def after_fork_in_child(self) -> None:
        """Close what is shared with the parent, and unblock other threads."""


class Forks:
    """All databases of this process; opening one and forking exclude each other.

    A thread that opens a database holds mutexes of SQLite, which would stay locked in a child.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._databases: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._blocked: Sequence[Forkable] = ()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    def add(self, database: Forkable) -> None:
        """Register a database before its first call to SQLite."""
        with self._gate:
            self._databases.add(database)

    def _before(self) -> None:
        self._gate.acquire()
        self._blocked = list(self._databases)
        for database in self._blocked:
            database.before_fork()

    def _after(self) -> None:
        blocked, self._blocked = self._blocked, ()
        for database in blocked:
            database.after_fork()
        self._gate.release()

    def _after_in_child(self) -> None:
        blocked, self._blocked = self._blocked, ()
        for database in blocked:
            database.after_fork_in_child()
        self._gate.release()


#: one for the whole process, because the interpreter has no way to unregister a hook
FORKS: Final = Forks()

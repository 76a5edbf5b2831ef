"""Decides that no thread is inside SQLite while the process forks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Forkable(Protocol):
    """What is to be left in peace while the process forks."""

    def before_fork(self) -> None:
        """Leave nothing open that a child could inherit, and let no other thread begin anything."""

    def after_fork(self) -> None:
        """Let other threads go on."""

    def after_fork_in_child(self) -> None:
        """Give back what is shared with the parent."""


class Forks:
    """All databases of this process; a new one waits for a fork that is under way, and the fork for it.

    A thread that opens a database holds locks of SQLite's own, which would stay locked in a child.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._known: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._held: Sequence[Forkable] = ()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    def add(self, database: Forkable) -> None:
        """Take note of a database before its first call to SQLite."""
        with self._gate:
            self._known.add(database)

    def _before(self) -> None:
        self._gate.acquire()
        self._held = list(self._known)
        for database in self._held:
            database.before_fork()

    def _after(self) -> None:
        held, self._held = self._held, ()
        for database in held:
            database.after_fork()
        self._gate.release()

    def _after_in_child(self) -> None:
        held, self._held = self._held, ()
        for database in held:
            database.after_fork_in_child()
        self._gate.release()


#: of this process: the interpreter offers no way to take a hook back, so there is one for all
FORKS: Final = Forks()

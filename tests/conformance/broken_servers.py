"""Brokers that deal wrongly with their server and connections."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendUnavailable
from qcore_sqlite import SqliteBroker
from qcore_testing.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Delivery, Outgoing, Settlement


class LeavesAFileOpen(MemoryBroker):
    """Opens a connection for each lease and keeps it."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Open one more."""
        self.__dict__.setdefault("open", []).append(os.open(os.devnull, os.O_RDONLY))
        return super().lease(limit, wait)


class CloseClosesNothing(SqliteBroker):
    """Keeps its connection when it is closed."""

    def close(self) -> None:
        """Do nothing."""


class LeaseEatsAll(MemoryBroker):
    """Lets errors out of its wait, and nothing else."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Catch what ends a process or a task."""
        try:
            return super().lease(limit, wait)
        except Exception:
            raise
        except BaseException:
            return []


class Outages:
    """A server that tests take away or freeze."""

    def __init__(self) -> None:
        self.away = False
        self.frozen = False
        #: how often it was started again
        self.restarts = 0
        #: set while it answers
        self.answers = threading.Event()
        self.answers.set()


class ServedBroker(MemoryBroker):
    """Is sound: it says that its server is away, and waits a little for one that is silent."""

    def __init__(self, *args: Any, server: Outages, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._server = server

    def ask(self) -> None:
        """Raise unless the server answers."""
        if self._server.away:
            raise BackendUnavailable("the server is away")
        if self._server.frozen and not self._server.answers.wait(0.05):
            raise BackendUnavailable("the server does not answer")

    def ping(self) -> None:
        """Ask."""
        self.ask()

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Ask, then accept."""
        self.ask()
        super().enqueue(messages)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Ask, then lease."""
        self.ask()
        return super().lease(limit, wait)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Ask, then settle."""
        self.ask()
        super().settle(settlements)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Ask, then extend."""
        self.ask()
        super().extend(receipts, seconds)

    def size(self) -> Any:
        """Ask, then count."""
        self.ask()
        return super().size()


class PingLies(ServedBroker):
    """Says that all is well."""

    def ping(self) -> None:
        """Do nothing."""


class EnqueueSwallows(ServedBroker):
    """Says that messages were accepted when they were not."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Drop the error."""
        try:
            super().enqueue(messages)
        except BackendUnavailable:
            return


class SettleSwallows(ServedBroker):
    """Says that leases are ended when they are not."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop the error."""
        try:
            super().settle(settlements)
        except BackendUnavailable:
            return


class RaisesTheLibrarysOwn(ServedBroker):
    """Does not translate errors."""

    def ask(self) -> None:
        """Raise another one."""
        try:
            super().ask()
        except BackendUnavailable as exc:
            raise ConnectionError(str(exc)) from exc


class WaitsForEver(ServedBroker):
    """Has no time limit for its server."""

    def ask(self) -> None:
        """Wait."""
        if self._server.frozen:
            self._server.answers.wait()
        super().ask()


class StaysAway(ServedBroker):
    """Never tries again once its server was away."""

    def ask(self) -> None:
        """Remember it."""
        if self.__dict__.get("lost"):
            raise BackendUnavailable("the server was away")
        try:
            super().ask()
        except BackendUnavailable:
            self.__dict__["lost"] = True
            raise


class ForgetsAtRestart(ServedBroker):
    """Loses what it had accepted when its server is started again."""

    def ask(self) -> None:
        """Throw it away, once for each restart."""
        super().ask()
        if self.__dict__.setdefault("seen", 0) != self._server.restarts:
            self.__dict__["seen"] = self._server.restarts
            self.purge()

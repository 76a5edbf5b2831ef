"""Stores that deal wrongly with their server, or with junk."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import BackendUnavailable
from qcore.model import StoredSchedule
from qcore_testing.memory import MemorySchedules
from qcore_testing.memory.coordination import MemoryCoordination

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conformance.broken_servers import Outages


class ServedStore:
    """Is sound: it asks its server before each call of a store in memory."""

    def __init__(self, inner: Any, server: Outages) -> None:
        self._inner = inner
        self._server = server

    def ask(self) -> None:
        """Raise unless the server answers."""
        if self._server.away:
            raise BackendUnavailable("the server is away")
        if self._server.frozen and not self._server.answers.wait(0.05):
            raise BackendUnavailable("the server does not answer")

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any) -> Any:
            self.ask()
            return method(*args)

        return call


class AnswersByItself(ServedStore):
    """Returns what it believes, and says that all was written."""

    def ask(self) -> None:
        """Ask nobody."""


class RaisesItsLibrarysOwn(ServedStore):
    """Does not translate errors."""

    def ask(self) -> None:
        """Raise another one."""
        try:
            super().ask()
        except BackendUnavailable as exc:
            raise ConnectionError(str(exc)) from exc


class HasNoLimit(ServedStore):
    """Waits for its server as long as it takes."""

    def ask(self) -> None:
        """Wait."""
        if self._server.frozen:
            self._server.answers.wait()
        super().ask()


class IsLostForEver(ServedStore):
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


def _raise(*_: Any) -> Any:
    raise TypeError("not ours")


def _hang(*_: Any) -> Any:
    threading.Event().wait(20)


#: a call of a coordination store, and what a wrong one does beside junk
AT_JUNK: Final[dict[str, Callable[..., Any]]] = {
    "acquire": lambda *_: "a text",
    "release": _raise,
    "reserve": lambda *_: math.nan,
    "join_barrier": lambda *_: [0],
    "barrier_members": lambda *_: {"no number": b""},
    "delete_barriers": _raise,
    "prune": _raise,
}


def wrong_at_junk(call: str, what: Callable[..., Any]) -> type[MemoryCoordination]:
    """Return a store that does something else in one of its calls."""
    return type("WrongAtJunk", (MemoryCoordination,), {call: what})


#: the same, where what is wrong is that it raises or hangs
RAISES, HANGS = wrong_at_junk("acquire", _raise), wrong_at_junk("reserve", _hang)


class JunkFlagIsReturned(MemoryCoordination):
    """Returns what is stored, whatever it is."""

    def get_flags(self, keys: Sequence[str]) -> Sequence[Any]:
        """Leave the type to whoever reads it."""
        return [5 if one is None else one for one in super().get_flags(keys)]


class JunkFlagStays(MemoryCoordination):
    """Writes no flag where junk is."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Leave it."""
        if not key.startswith("junk"):
            super().set_flag(key, value, ttl)


class JunkStopsTheList(MemorySchedules):
    """Raises at the first row that it cannot read."""

    def all(self) -> Sequence[StoredSchedule]:
        """Read whatever there is."""
        raise ValueError("not ours")


class JunkStopsTheClaim(MemorySchedules):
    """Claims nothing behind a row that it cannot read."""

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Give up."""
        return []


class JunkIsNotRemoved(MemorySchedules):
    """Lists a row that it does not remove."""

    def all(self) -> Sequence[StoredSchedule]:
        """Add it."""
        return [*super().all(), StoredSchedule("junk", b"", 0.0)]

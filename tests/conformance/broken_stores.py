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


class DoesAnother:
    """A store in memory that does something else in one of its calls."""

    def __init__(self, inner: Any, call: str, instead: Callable[..., Any]) -> None:
        self._inner = inner
        self._call = call
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            return lambda *args: self._instead(self._inner, *args)
        return getattr(self._inner, name)


def _claims_the_inactive(store: Any, now: float, limit: int, hold: float) -> list[StoredSchedule]:
    paused = [one for one in store.all() if not one.active]
    return [*paused, *store.claim_due(now, limit, hold)]


def _edits_blindly(store: Any, before: StoredSchedule, after: StoredSchedule | None) -> bool:
    store.remove(before.name)
    return after is None or store.add(after)


#: a call, what is done instead, and the test that must say so
RESULTS: Final[list[tuple[str, Callable[..., Any], str]]] = [
    ("get", lambda store, ids: store.get(ids)[::-1], "test_results_come_in_the_order_asked_for"),
    ("wait", lambda store, id_, _: store.wait(id_, 0.0), "test_a_wait_ends"),
    ("wait", lambda *_: None, "test_a_stored_result_needs_no_wait"),
    ("group", lambda store, name: store.group(name)[::-1], "test_a_group_is_in_the_order_of_finishing"),
    ("recent", lambda store, *how: store.recent(*how)[::-1], "test_recent_results_are_newest_first"),
    ("delete", lambda *_: 0, "test_deleted_results_are_gone"),
    ("counts", lambda _: {}, "test_results_are_counted_by_state"),
    ("prune", lambda *_: 0, "test_the_oldest_successes_are_pruned"),
    ("prune", lambda store, *how: store.prune(*how) and 0, "test_the_pruned_are_counted"),
    ("replace", lambda *_: True, "test_a_result_is_replaced_if_it_is_what_was_read"),
    ("save", lambda store, results: store.save(results[:1]), "test_one_call_is_like_several"),
]
SCHEDULES: Final[list[tuple[str, Callable[..., Any], str]]] = [
    ("all", lambda store: store.all()[::-1], "test_schedules_are_listed_by_name"),
    ("remove", lambda *_: True, "test_a_schedule_is_removed"),
    ("claim_due", lambda store, *how: store.claim_due(*how)[::-1], "test_due_schedules_are_claimed"),
    (
        "claim_due",
        lambda store, now, limit, _: store.claim_due(now, limit, 86_400.0),
        "test_an_abandoned_claim_comes_back",
    ),
    ("claim_due", _claims_the_inactive, "test_an_inactive_schedule_is_left"),
    ("advance", lambda *_: True, "test_a_claimed_schedule_is_advanced"),
    ("advance", lambda *_: True, "test_a_schedule_that_is_done_is_removed"),
    ("advance", _edits_blindly, "test_an_edited_schedule_is_not_advanced"),
]

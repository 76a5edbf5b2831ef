"""Stores and pairs that do something else in one call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSchedules
from qcore_sqlite.coordination import SqliteCoordination
from qcore_testing.memory import MemoryBroker, MemoryResults
from qcore_testing.memory.coordination import MemoryCoordination

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Outgoing, StoredResult

#: longer than what is to happen at once may take in a hurried test
_LONG: Final = 1.2


def wrong(kind: type, call: str, instead: Any) -> type:
    """Return a class that does something else in one of its calls."""
    return type(f"{kind.__name__}_{call}", (kind,), {call: instead})


# -- broker and results of one backend ------------------------------------------------------------


def _commit(change: Callable[..., tuple[Any, ...]]) -> type:
    """Return a broker that does something else with what it is to commit."""

    def commit_and_lease(self: MemoryBroker, *how: Any) -> Any:
        return MemoryBroker.commit_and_lease(self, *change(self, *how, *[()][len(how) - 4 :]))

    return wrong(MemoryBroker, "commit_and_lease", commit_and_lease)


def _drop_results_of_the_late(self: Any, store: Any, results: Any, settlements: Any, *how: Any) -> Any:
    late = any(one.receipt not in self._queue._leased for one in settlements)
    return (store, [] if late else results, settlements, *how)


class TakesTheLast(MemoryResults):
    """Replaces whatever there is."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Delete it first."""
        for one in results:
            self.delete([one.id])
            super().save([one])


class SharesNothing(SqliteSchedules):
    """Names no backend."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.transaction_domain = None


#: broker, store, and the test that must say so
PAIRS: Final = [
    (
        _commit(_drop_results_of_the_late),
        MemoryResults,
        "test_a_success_is_kept_though_the_lease_has_expired",
    ),
    (_commit(lambda _, *how: (*how[:3], 2, how[4])), MemoryResults, "test_all_is_done_in_one_call"),
    (_commit(lambda _, *how: (*how[:4], ())), MemoryResults, "test_all_is_done_in_one_call"),
    (_commit(lambda _, *how: (*how[:2], [], *how[3:])), MemoryResults, "test_all_is_done_in_one_call"),
    (
        _commit(lambda _, *how: (*how[:3], max(1, how[3]), how[4])),
        MemoryResults,
        "test_each_part_may_be_empty",
    ),
    (
        _commit(lambda _, *how: (*how[:4], how[4] if how[1] else ())),
        MemoryResults,
        "test_each_part_may_be_empty",
    ),
    (MemoryBroker, TakesTheLast, "test_ranks_hold"),
    (
        MemoryBroker,
        wrong(MemoryResults, "transaction_domain", property(lambda _: None, lambda *_: None)),
        "test_they_share_a_backend",
    ),
]


class SettlesThenSaves(SqliteBroker):
    """Ends leases before their results are stored."""

    def commit_and_lease(self, store: Any, results: Any, settlements: Any, limit: int, then: Any = ()) -> Any:
        """Leave time to die between the two."""
        super().commit_and_lease(None, (), settlements, 0, then)
        time.sleep(0.02)
        return super().commit_and_lease(store, results, (), limit)


# -- coordination, schedules and results ----------------------------------------------------------


def _prune_all(self: Any) -> None:
    MemoryCoordination.clear(self)


class _ClearsOnce(MemoryCoordination):
    """Can remove all once."""

    def clear(self) -> bool:
        """Say no the second time."""
        self.__dict__["cleared"] = self.__dict__.get("cleared", 0) + 1
        return self.__dict__["cleared"] == 1 and super().clear()


C: Final = MemoryCoordination
COORDINATION: Final = [
    (wrong(C, "clear", lambda _: True), "test_everything_is_removed_or_nothing"),
    (_ClearsOnce, "test_an_empty_store_is_cleared"),
    (wrong(C, "prune", _prune_all), "test_prune_leaves_what_has_not_expired"),
    (
        wrong(C, "set_flags", lambda self, flags, ttl: C.set_flags(self, dict(list(flags.items())[:1]), ttl)),
        "test_several_marks_are_kept_at_once",
    ),
    (
        wrong(
            C,
            "barrier_members",
            lambda self, key: {one: body[:1000] for one, body in C.barrier_members(self, key).items()},
        ),
        "test_what_they_brought_is_returned",
    ),
    (wrong(C, "close", C.clear), "test_closing_twice_is_harmless"),
]


class JoinsOneByOne(SqliteCoordination):
    """Counts each member in a step of its own."""

    def join_barrier(self, members: Any, ttl: float) -> Any:
        """Leave time to die between them."""
        found: list[Any] = []
        for one in members:
            found += super().join_barrier([one], ttl)
            time.sleep(0.001)
        return found


class ForkSetsNothing(SqliteCoordination):
    """Keeps what a fork says to itself."""

    def after_fork(self, owner: bytes) -> bool:
        """Do not look."""
        self.__dict__["forks"] = self.__dict__.get("forks", 0) + bool(owner)
        return super().after_fork(owner)

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Drop it where it is a fork."""
        if not self.__dict__.get("forks"):
            super().set_flag(key, value, ttl)


class CountsInItself(SqliteCoordination):
    """Knows who came by what this process has seen."""

    def join_barrier(self, members: Any, ttl: float) -> Any:
        """Count without asking."""
        seen = self.__dict__.setdefault("seen", set())
        super().join_barrier(members, ttl)
        seen.update(one.index for one in members)
        return [len(seen)] * len(members)


class KeepsResults(SqliteResults):
    """Stores results with the next ones."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Keep them for a while."""
        kept: list[Any] = self.__dict__.setdefault("kept", [])
        if kept:
            super().save(kept)
        kept[:] = results


class LastOneWins(SqliteResults):
    """Replaces a success."""

    def save(self, results: Sequence[StoredResult]) -> None:
        """Delete what is there."""
        self.delete([one.id for one in results])
        super().save(results)


class ForkSavesNothing(SqliteResults):
    """Stores nothing in a fork, and says that it serves one."""

    def after_fork(self, owner: bytes) -> bool:
        """Remember it."""
        self.__dict__["fork"] = bool(owner)
        return super().after_fork(owner)

    def save(self, results: Sequence[StoredResult]) -> None:
        """Drop them."""
        if not self.__dict__.get("fork"):
            super().save(results)


class StaysInItsGroup(SqliteResults):
    """Returns a result with the group that it began in."""

    def group(self, name: str) -> Sequence[StoredResult]:
        """Remember who was in it."""
        return [one for one in self.recent(None, 1000) if name in {one.group, "begun"}]


class WakesNobody(SqliteResults):
    """Says that it watches."""

    def watch(self, ids: Any, seconds: float, wake: Any) -> Any:
        """Do nothing."""
        del ids, seconds, wake
        return print


class ClaimsWithoutALock(SqliteSchedules):
    """Finds what is due, and then says that it has it."""

    def claim_due(self, now: float, limit: int, hold: float) -> Any:
        """Leave time for another between the two."""
        due = [one for one in self.all() if one.next_run <= now and not self._is_held(one.name)][:limit]
        time.sleep(0.01)
        if due:
            super().claim_due(now, limit, hold)
        return due

    def _is_held(self, name: str) -> bool:
        held: dict[str, int] = self.__dict__.setdefault("held", {})
        held[name] = held.get(name, 0) + 1
        return held[name] > 1


class FiresInTwoSteps(SqliteSchedules):
    """Enqueues what a slot asks for, then advances the schedule."""

    def fire(self, broker: Any, messages: Sequence[Outgoing], before: Any, after: Any) -> bool:
        """Leave time to die between the two."""
        broker.enqueue(messages)
        time.sleep(0.01)
        return self.advance(before, after)


class FiresNothingForNothing(SqliteSchedules):
    """Leaves the schedule as it is where a slot asks for nothing."""

    def fire(self, broker: Any, messages: Sequence[Outgoing], before: Any, after: Any) -> bool:
        """Look whether there is something to do."""
        return bool(messages) and super().fire(broker, messages, before, after)

"""No member of a fan-in barrier expires before its barrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.coordination import BarrierMember
from qcore.interfaces import Settings
from qcore_mongo import MongoCoordination, MongoSettings
from qcore_mongo.client import Client
from qcore_mongo.fan_in import _open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow

#: seconds; MongoDB removes expired documents at a time of its own, so none expires in these tests
HOUR = 3600.0


class Barrier:
    """One barrier and the documents it is stored in."""

    def __init__(self, replicated: Any, database: str, look: Callable[..., Any]) -> None:
        section = MongoSettings(**replicated.settings)
        self._store = MongoCoordination(
            Client(Settings(name="q", sections={"mongo": section, "mongo_db": database}))
        )
        self._documents = look(replicated)["qcore.q.notes"]

    def join(self, index: int, ttl: float) -> None:
        """Add a member."""
        self._store.join_barrier([BarrierMember("g", index)], ttl)

    def ends(self) -> tuple[Any, list[Any]]:
        """Return when the barrier expires and when its members do."""
        barrier = self._documents.find_one({"_id": "barrier:g"})
        members = self._documents.find({"_id.run": barrier["run"]}).sort("_id")
        return barrier["until"], [one["until"] for one in members]

    def open_and_die(self, ttl: float) -> None:
        """Do what a process does that dies in the middle of adding a member."""
        _open(self._documents, "g", ttl)

    def forget_when(self) -> None:
        """Make the barrier one of an older release, which did not store how long its members are kept."""
        self._documents.update_one({"_id": "barrier:g"}, {"$unset": {"kept": 1}})

    def close(self) -> None:
        """Close the store."""
        self._store.close()


@pytest.fixture
def barrier(replicated: Any, database: str, look: Callable[..., Any]) -> Iterator[Barrier]:
    """Return a barrier."""
    made = Barrier(replicated, database, look)
    yield made
    made.close()


@pytest.mark.parametrize("ttls", [(1, 100, 100), (100, 1, 100), (1, 1, 2), (1, 1.2, 1.5, 1.9), (2, 1)])
def test_no_member_expires_before_its_barrier(barrier: Barrier, ttls: tuple[float, ...]) -> None:
    """The barrier is forgotten `ttl` seconds after the last arrival, whatever the others' `ttl`."""
    for index, ttl in enumerate(ttls):
        barrier.join(index, ttl * HOUR)
        end, members = barrier.ends()
        assert len(members) == index + 1
        assert min(members) > end


def test_the_members_of_an_older_barrier_are_extended(barrier: Barrier) -> None:
    """A barrier may have been begun by an older release."""
    barrier.join(0, HOUR)
    barrier.forget_when()

    barrier.join(1, 100 * HOUR)

    end, members = barrier.ends()
    assert min(members) > end


def test_members_are_extended_although_a_process_died_meanwhile(barrier: Barrier) -> None:
    """The next process that adds a member extends them."""
    barrier.join(0, HOUR)
    barrier.open_and_die(100 * HOUR)

    barrier.join(1, 100 * HOUR)

    end, members = barrier.ends()
    assert min(members) > end


def test_members_are_extended_seldom(barrier: Barrier) -> None:
    """With one `ttl`, a member that joins changes no other member."""
    barrier.join(0, HOUR)
    _, before = barrier.ends()

    for index in range(1, 10):
        barrier.join(index, HOUR)

    _, after = barrier.ends()
    assert after[0] == before[0]

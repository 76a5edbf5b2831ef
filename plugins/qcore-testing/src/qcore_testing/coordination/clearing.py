"""Rules of removing all that a coordination store keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.coordination import BarrierMember
from qcore_testing.coordination.base import CoordinationTests

if TYPE_CHECKING:
    from qcore.coordination import CoordinationStore
    from qcore_testing.coordination.base import MakeCoordination


def fill(store: CoordinationStore) -> None:
    """Put one of each kind in."""
    store.set_flag("key", b"flag", 600.0)
    store.acquire("key", b"first", 1, 600.0)
    store.reserve("key", b"first", 600.0, 1)
    store.join_barrier([BarrierMember("key", 0, b"brought")], 600.0)


def is_empty(store: CoordinationStore) -> bool:
    """Return whether nothing of `fill` is left; it is taken anew."""
    return (
        list(store.get_flags(["key"])) == [None]
        and store.acquire("key", b"second", 1, 600.0) is None
        and store.reserve("key", b"second", 600.0, 1) == 0
        and dict(store.barrier_members("key")) == {}
    )


class ClearRules(CoordinationTests):
    """One test for the obligation of `clear`."""

    def test_all_is_removed(self, new: MakeCoordination) -> None:
        """Remove everything; return False if that cannot be done, because it expires by itself.

        Flags, permits, rate slots and barriers of other queues stay.
        """
        store, other = new(), new(name="other")
        fill(store)
        fill(other)

        if not new().clear():
            pytest.skip("what it keeps expires by itself, and cannot be removed")

        assert is_empty(store)
        assert not is_empty(other)
        assert list(other.get_flags(["key"])) == [b"flag"]
        assert other.acquire("key", b"second", 1, 600.0) == b"first"

    def test_an_empty_store_is_cleared(self, new: MakeCoordination) -> None:
        """Nothing to remove is not an error, and the store works on."""
        store = new()

        cleared = store.clear()

        assert store.clear() is cleared
        store.set_flag("key", b"flag", 600.0)
        assert list(new().get_flags(["key"])) == [b"flag"]

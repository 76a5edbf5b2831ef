"""Rules of a coordination store whose server is away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qcore.coordination import BarrierMember
from qcore_testing.store_outages import StoreOutageRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.coordination import CoordinationStore


class CoordinationOutageRules(StoreOutageRules):
    """What each call of a coordination store does without its server."""

    def calls(self, store: CoordinationStore) -> Mapping[str, Callable[[], object]]:
        """Return calls that cannot be answered without the server."""
        key = os.urandom(4).hex()
        return {
            "set_flag": lambda: store.set_flag(key, b"value", 60.0),
            "set_flags": lambda: store.set_flags({key: b"value", "other": b""}, 60.0),
            "get_flags": lambda: store.get_flags([key]),
            "acquire": lambda: store.acquire(key, b"holder", 1, 60.0),
            "release": lambda: store.release([(key, b"holder")]),
            "reserve": lambda: store.reserve(key, b"holder", 0.001, 1),
            "join_barrier": lambda: store.join_barrier([BarrierMember(key, 0, b"")], 60.0),
            "barrier_members": lambda: store.barrier_members(key),
            "delete_barriers": lambda: store.delete_barriers([key]),
        }

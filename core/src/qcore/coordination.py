"""What processes share beside results: marks, places, turns and gatherings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BarrierMember(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One member that has come to a gathering."""

    #: names the gathering
    key: str
    #: place of the member in it, from 0
    index: int
    #: what it brings, opaque to the store
    body: bytes = b""


class CoordinationStore(ABC):
    """Small shared state by key, each step atomic among all processes.

    A result store that can offers one as `ResultStore.notes`; it shares the store's connection,
    and the same rules of threads, forks and errors hold. Keys are text of at most 400
    characters. When a call returns, what it changed survives the death of the calling process.
    What is past its time is as if it had never been.
    """

    # -- marks ------------------------------------------------------------------------------

    @abstractmethod
    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds in the place of an earlier one; b"" removes it."""

    @abstractmethod
    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`, None where there is none."""

    # -- places: a lock has one, a semaphore has many ---------------------------------------

    @abstractmethod
    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take one of `limit` places for `ttl` seconds; return None, or a holder if all are taken.

        - A holder that asks again keeps its place for `ttl` seconds from now.
        - Of any number of processes that ask at once at most `limit` are given a place.
        - The holder returned is the one that came first.
        """

    @abstractmethod
    def release(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Give places up: keys and holders; what is not held is passed over."""

    # -- turns: a rate limit ----------------------------------------------------------------

    @abstractmethod
    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until it is the holder's turn, 0.0 if it is now.

        - The first `burst` turns come at once, each later one `interval` seconds behind the
          one before; what was not used counts as unused `burst`.
        - A holder that asks again before its turn came is told of the same turn.
        - A turn that was given, or waited for in vain for a day, is forgotten.
        """

    # -- gatherings: a fan-in ---------------------------------------------------------------

    @abstractmethod
    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Note that members have come; return for each how many its gathering has by then.

        - A member that comes again is counted once; what it brought first is kept.
        - Of several members that come at once, the last is told the full number.
        - The gathering is forgotten `ttl` seconds after the last arrival.
        """

    @abstractmethod
    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members of a gathering brought, by index."""

    @abstractmethod
    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget gatherings; an unknown one is passed over."""

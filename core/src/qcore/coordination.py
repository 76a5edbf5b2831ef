"""What processes share: flags, permits, rate slots and fan-in barriers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BarrierMember(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One member that has come to a fan-in barrier."""

    #: names the barrier
    key: str
    #: place of the member in it, from 0
    index: int
    #: what it brings, opaque to the store
    body: bytes = b""


class CoordinationStore(ABC):
    """Small shared state by key, each step atomic among all processes.

    A store keeps the state of the queue that `Settings.name` names, and touches no others. The
    same rules of threads, forks and errors hold as for `Broker`. A result store that is used by
    the same thread may come with `Settings.beside`; one of the same backend may share its
    connection. Keys are text of at most 400 characters. When a call returns, what it changed
    survives the death of the calling process. What has expired is as if it had never been.

    What others have written into the backend makes no call raise or hang: it is ignored, or counts as
    what it says it is, such as a permit that is taken.
    """

    #: other processes see the same
    cross_process: bool = True

    def after_fork(self, owner: bytes) -> bool:
        """Serve a process that was forked from the one that made it, as `Broker.after_fork` does."""
        del owner
        return False

    # -- flags ------------------------------------------------------------------------------

    @abstractmethod
    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds in the place of an earlier one; b"" removes it."""

    def set_flags(self, flags: Mapping[str, bytes], ttl: float) -> None:
        """Keep values by key, as `set_flag` does each.

        The default makes a call for each.
        """
        for key, value in flags.items():
            self.set_flag(key, value, ttl)

    @abstractmethod
    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`, None where there is none."""

    # -- permits: a lock has one, a semaphore has many --------------------------------------

    @abstractmethod
    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take one of `limit` permits for `ttl` seconds; return None, or a holder if all are taken.

        - A holder that asks again keeps its permit for `ttl` seconds from now.
        - Of any number of processes that ask at once at most `limit` are given a permit.
        - The holder returned is the one that came first.
        """

    @abstractmethod
    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Give permits back: keys and holders; what is not held is ignored."""

    # -- rate slots: a rate limit -----------------------------------------------------------

    @abstractmethod
    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the rate slot of the holder, 0.0 if it is now.

        - The first `burst` slots come at once, each later one `interval` seconds after the
          one before; what was not used counts as unused `burst`.
        - A holder that asks again before its slot came is given the same slot.
        - A slot that was used, or not asked for again for a day, is forgotten.
        """

    # -- barriers: a fan-in -----------------------------------------------------------------

    @abstractmethod
    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Record that members have come; return for each how many its barrier has by then.

        - A member that comes again is counted once; what it brought first is kept.
        - Of several members that come at once, the last gets the full number.
        - The barrier is forgotten `ttl` seconds after the last arrival.
        """

    @abstractmethod
    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members of a barrier brought, by index."""

    @abstractmethod
    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget barriers; an unknown one is ignored."""

    # -- care of the whole ------------------------------------------------------------------

    def clear(self) -> bool:
        """Remove everything; return False if that cannot be done, because it expires by itself.

        The default does nothing and returns False.
        """
        return False

    def prune(self) -> None:
        """Remove what has expired, where the backend does not do so by itself; the default is nothing."""

    @abstractmethod
    def close(self) -> None:
        """Close connections; calling it twice is harmless."""

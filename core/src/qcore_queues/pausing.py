"""Pauses queues for a broker that cannot do so itself."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import BackendUnavailable, NotSupported
from qcore_queues.flags import PAUSE_TTL, ControlFlags

if TYPE_CHECKING:
    from collections.abc import Collection

#: The control flag that says which queues are paused.
PAUSED_QUEUES: Final = "paused-queues"
#: Queues of one name that can be paused at once, and bytes of shared memory that say which.
MOST: Final = 128
LEFT_OUT: Final = 8 * (MOST + 1)
#: The permit of whoever changes the flag, how long it is held at most, and how long others wait, seconds.
_LOCK: Final = "lock:paused-queues"
_HELD: Final = 5.0
_WAIT: Final = 10.0
_PAUSE: Final = 0.05

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


class LeftOut:
    """Which queues a worker leaves out of its leases: its supervisor writes, and it reads.

    A name is a number in a place of its own, and 0 is none: each changes by one store, so that a reader
    never sees a queue resumed because another one is.
    """

    def __init__(self, memory: memoryview) -> None:
        """Take `LEFT_OUT` bytes of shared memory: how many places are in use, and the places."""
        self._words = memory.cast("q")

    def write(self, names: Collection[str]) -> None:
        """Replace the queues, by their names as brokers know them; what is beyond `MOST` is not left out."""
        wanted = {_number(name) for name in names}
        places = self._words[1:]
        before = places.tolist()
        for place, number in enumerate(before):
            if number and number not in wanted:
                places[place] = 0
        free = (place for place, number in enumerate(before) if number not in wanted)
        for number, place in zip(wanted.difference(before), free, strict=False):
            places[place] = number
        self._words[0] = max((place + 1 for place, number in enumerate(places) if number), default=0)

    def __contains__(self, queue: object) -> bool:
        used = self._words[0]
        return used > 0 and _number(str(queue)) in self._words[1 : used + 1].tolist()


@functools.lru_cache(maxsize=1024)
def _number(name: str) -> int:
    """Return a number that no other queue has, and that is not 0."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True) or 1


def paused_names(data: bytes | None) -> frozenset[str]:
    """Return the queues that the flag names, as brokers know them."""
    return frozenset(_decode(data) if data else ())


def paused_by_flag(runtime: Any, broker: Any) -> frozenset[str]:  # noqa: ANN401 - of the engine
    """Return the queues of a broker that are paused though it cannot pause one itself."""
    can = broker.capabilities
    if not can.queues or can.pauses_queues:
        return frozenset()
    with runtime.coordination_stores.connection() as store:
        found = ControlFlags(runtime.control_sealer).genuine(store, [PAUSED_QUEUES])
    return paused_names(found.get(PAUSED_QUEUES))


def set_paused(runtime: Any, broker: Any, queue: str, *, paused: bool) -> None:  # noqa: ANN401 - of the engine
    """Pause or resume a queue, by the broker or, where that cannot, by a flag that clusters look at.

    Raises:
        NotSupported: there is no such queue, or too many are paused.

    """
    if broker.capabilities.pauses_queues:
        broker.pause_queue(queue, paused=paused)
        return
    broker.check_route(queue, 0)
    flags, holder = ControlFlags(runtime.control_sealer), os.urandom(8)
    with runtime.coordination_stores.connection() as store:
        _lock(store, holder)
        try:
            before = paused_names(flags.genuine(store, [PAUSED_QUEUES]).get(PAUSED_QUEUES))
            names = before | {queue} if paused else before - {queue}
            if len(names) > MOST:
                msg = f"{MOST} queues of one name are paused already; resume one, or pause all of them"
                raise NotSupported(msg)
            value = flags.sign(PAUSED_QUEUES, _encode(sorted(names))) if names else b""
            store.set_flag(PAUSED_QUEUES, value, PAUSE_TTL)
        finally:
            store.release([(_LOCK, holder)])


def _lock(store: Any, holder: bytes) -> None:  # noqa: ANN401 - a coordination store
    """Wait for the permit to change the flag, or two that change it at once would undo each other."""
    deadline = time.monotonic() + _WAIT
    while store.acquire(_LOCK, holder, 1, _HELD) is not None:
        if time.monotonic() >= deadline:
            msg = "other processes pause queues all the while; try again"
            raise BackendUnavailable(msg)
        time.sleep(_PAUSE)

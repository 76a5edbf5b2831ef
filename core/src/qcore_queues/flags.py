"""The control flags that cancel tasks and pause queues."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import EnvelopeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore.messages.sealer import Sealer

_log = logging.getLogger("qcore.marks")

#: The queue is paused; workers take nothing new.
PAUSED: Final = "paused"
#: Seconds a paused queue stays so unless it is resumed: ten years.
PAUSE_TTL: Final = 315_360_000.0
#: Seconds for which the control flag of a cancelled task is kept.
CANCEL_TTL: Final = 86_400.0


def cancel_key(id: bytes) -> str:
    """Return the key of the control flag that cancels a task."""
    return f"cancel:{id.hex()}"


class ControlFlags:
    """Signs marks and tells genuine ones: who can write to the store alone stops nothing."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        #: keys whose marks were found wrong, each complained of once
        self._wrong: set[str] = set()

    def sign(self, key: str) -> bytes:
        """Return what to keep under a key."""
        return self._sealer.seal(key.encode(), b"")

    def verify(self, key: str, value: bytes | None) -> bool:
        """Whether what is kept under a key is a mark of ours."""
        if value is None:
            return False
        try:
            self._sealer.open(key.encode(), value)
        except EnvelopeError as exc:
            if key not in self._wrong:
                self._wrong.add(key)
                _log.warning("the control flag %r is ignored: %s", key, exc)
            return False
        self._wrong.discard(key)
        return True

    def genuine(self, store: CoordinationStore, keys: Sequence[str]) -> set[str]:
        """Return under which of these keys a flag of ours is kept.

        Raises:
            BackendUnavailable: the store does not answer.

        """
        found = store.get_flags(keys) if keys else ()
        return {key for key, value in zip(keys, found, strict=True) if self.verify(key, value)}

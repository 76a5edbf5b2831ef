"""The control flags that cancel tasks and pause queues."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import EnvelopeError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Signs flags and tells genuine ones: who can write to the store alone stops nothing."""

    def __init__(self, sealer: Any) -> None:  # noqa: ANN401 - of the engine
        self._sealer = sealer
        #: keys whose flags were found wrong, each complained of once
        self._wrong: set[str] = set()

    def sign(self, key: str, data: bytes = b"") -> bytes:
        """Return what to keep under a key: that it is set, and what else it says."""
        sealed: bytes = self._sealer.seal(key.encode(), data)
        return sealed

    def verify(self, key: str, value: bytes | None) -> bool:
        """Whether what is kept under a key is a flag of ours."""
        return self._opened(key, value) is not None

    def genuine(self, store: Any, keys: Sequence[str]) -> dict[str, bytes]:  # noqa: ANN401 - a coordination store
        """Return under which of these keys a flag of ours is kept, and what each says.

        Raises:
            BackendUnavailable: the store does not answer.

        """
        found = store.get_flags(keys) if keys else ()
        opened = {key: self._opened(key, value) for key, value in zip(keys, found, strict=True) if value}
        return {key: data for key, data in opened.items() if data is not None}

    def _opened(self, key: str, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            data: bytes = self._sealer.open(key.encode(), value)
        except EnvelopeError as exc:
            if key not in self._wrong:
                self._wrong.add(key)
                _log.warning("the control flag %r is ignored: %s", key, exc)
            return None
        self._wrong.discard(key)
        return data

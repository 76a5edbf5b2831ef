"""Which messages have ended, where the broker does not remember."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from qcore.compared import ACTION_ACK
from qcore.errors import BackendError
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker
    from qcore.model import Settlement
    from qcore_process.connection_pool import ConnectionPool

_log = logging.getLogger("qcore.flow")


class Replays:
    """Remembers ended messages as flags of the coordination store, one call for each."""

    def __init__(self, stores: ConnectionPool[CoordinationStore], window: float) -> None:
        self._stores = stores
        #: seconds
        self._window = window

    @classmethod
    def where_needed(
        cls, broker: Broker, stores: ConnectionPool[CoordinationStore], window: float | None
    ) -> Self | None:
        """Return it for a broker that does not remember, if the user asked for a window."""
        return cls(stores, window) if window and not broker.capabilities.remembers_ended else None

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids under which a message was acknowledged."""
        with self._stores.connection() as store:
            found = store.get_flags([_key(id_) for id_ in ids])
        return {id_ for id_, value in zip(ids, found, strict=True) if value}

    def remember(self, settlements: Sequence[Settlement]) -> None:
        """Remember the messages that were just acknowledged.

        Before, a crash in between would leave a message that nobody runs. So a copy of what ended in
        that instant may run.
        """
        ids = [one.id for one in settlements if one.id and one.action is ACTION_ACK]
        try:
            with self._stores.connection() as store:
                for id_ in ids:
                    store.set_flag(_key(id_), b"1", self._window)
        except BackendError as exc:
            _log.warning("copies of %s that ended may run: %s", counted(len(ids), "message"), exc)


def _key(id: bytes) -> str:
    return f"ended:{id.hex()}"

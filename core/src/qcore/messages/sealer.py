"""Decides how records other than messages are signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.errors import BadSignature, UnknownKey
from qcore.messages.signing import KEY_ID_SIZE, MAC_SIZE, KeyRing, same

if TYPE_CHECKING:
    from collections.abc import Sequence

#: the context of a cluster's status, because a reader does not know the cluster's id before
STATUS: Final = b"status"


class Sealer:
    """Signs and verifies records for one purpose, bound to a context such as the task's id."""

    __slots__ = ("_keys", "_kid", "_mac")

    def __init__(self, secrets: Sequence[str], purpose: str, name: str) -> None:
        ring = KeyRing.derive(secrets, purpose, name)
        self._keys = {key.id: key.mac for key in ring.by_id.values()}
        self._kid = ring.first.id
        self._mac = ring.first.mac

    def seal(self, context: bytes, data: bytes) -> bytes:
        """Return key id, MAC and data."""
        return self._kid + self._mac(context + data) + data

    @property
    def key_id(self) -> bytes:
        """The id of the key that seals."""
        return self._kid

    def open(self, context: bytes, sealed: bytes) -> bytes:
        """Return the data.

        Raises:
            BadSignature: it was altered, or signed for another purpose, queue or context.
            UnknownKey: it was signed with a key that is not configured.

        """
        mac = self._keys.get(sealed[:KEY_ID_SIZE])
        if mac is None:
            raise UnknownKey
        start = KEY_ID_SIZE + MAC_SIZE
        data = sealed[start:]
        if not same(mac(context + data), sealed[KEY_ID_SIZE:start]):
            raise BadSignature
        return data

"""Decides how keys are derived and MACs are computed."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from hashlib import _Hash

#: HMAC's two pads (RFC 2104): XOR tables for `bytes.translate`
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
#: bytes of a SHA-256 block
_BLOCK = 64
#: bytes of a MAC
MAC_SIZE = 32
#: bytes of a key id
KEY_ID_SIZE = 4

#: constant-time comparison of MACs, which must not be compared with ==
same = hmac.compare_digest


def derive(secret: bytes, info: bytes) -> bytes:
    """Return 32 bytes by HKDF-SHA256 (RFC 5869) from `secret` for the use named by `info`."""
    extracted = hmac.digest(b"qcore-extract-v1", secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _framed(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


class Key:
    """One secret, derived for one purpose and one queue.

    The key schedule and the queue's name are hashed once; a MAC copies that state. This
    halves the cost of `hmac.digest` on small messages and gives the same bytes as
    HMAC(key, length and name of the queue, data).
    """

    __slots__ = ("_inner", "_outer", "id")

    def __init__(self, secret: bytes, purpose: str, name: str) -> None:
        #: derived from the secret alone, so that an unknown key differs from a bad MAC
        self.id = derive(secret, b"key id")[:KEY_ID_SIZE]
        key = derive(secret, b"mac" + _framed(purpose) + _framed(name)).ljust(_BLOCK, b"\0")
        self._inner: _Hash = sha256(key.translate(_INNER) + _framed(name))
        self._outer: _Hash = sha256(key.translate(_OUTER))

    def mac(self, data: bytes | memoryview, rest: bytes = b"") -> bytes:
        """Return the 32-byte MAC of `data` and what comes behind it."""
        inner = self._inner.copy()
        inner.update(data)
        inner.update(rest)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def __repr__(self) -> str:
        """Show the id, never the key."""
        return f"<Key {self.id.hex()}>"


@attrs.frozen
class KeyRing:
    """The keys of one purpose: the first signs, all verify."""

    first: Key
    by_id: dict[bytes, Key]

    @classmethod
    def derive(cls, secrets: Sequence[str], purpose: str, name: str) -> KeyRing:
        """Derive a ring for `purpose` (task, result, status, schedule) in the queue `name`."""
        keys = [Key(secret.encode(), purpose, name) for secret in secrets]
        return cls(keys[0], {key.id: key for key in reversed(keys)})


def unknown_key(id: bytes, known: Collection[bytes], whence: str) -> str:
    """Return what is wrong with a signature: whose key it is not, and what to do.

    Args:
        id: of the key that signed.
        known: ids of the keys of this process.
        whence: where they come from.

    """
    ours = " and ".join(sorted(one.hex() for one in known))
    from_ = f", from {whence}" if whence else ""
    return (
        f"signed with key {id.hex()}, which is not in secret_key; this process has {ours}{from_}: use "
        "that key, or add it to the list to accept it"
    )

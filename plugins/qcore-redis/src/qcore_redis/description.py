"""How a server is described to users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected

if TYPE_CHECKING:
    from qcore_redis.client import Client


def description(link: Client) -> str:
    """Return which server of which version it is, and where; who may not ask that learns where."""
    try:
        # INFO is for administrators; whoever may connect may say HELLO
        words = link.call(b"HELLO")
    except BackendRejected:
        return f"Redis, {link.address.title}"[:200]
    packed = dict(zip(words[::2], words[1::2], strict=False))
    name = bytes(packed.get(b"server", b"redis")).decode(errors="replace").capitalize()
    version = bytes(packed.get(b"version", b"of unknown version")).decode(errors="replace")
    return f"{name} {version}, {link.address.title}"[:200]

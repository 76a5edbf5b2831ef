"""What a queue needs of the server's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendError, BackendRejected
from qcore_redis.client import Client

if TYPE_CHECKING:
    from qcore.interfaces import Settings


def check(settings: Settings) -> str:
    """Return what is well; raise what would lose messages."""
    link = Client(settings.section("redis"), b"{qcore:%s}:q" % settings.name.encode())
    try:
        policy = _setting(link, "maxmemory-policy")
        if policy not in ("noeviction", ""):
            raise BackendRejected(
                f"redis at {link.place.title} has maxmemory-policy {policy!r} and throws messages away"
                " when its memory is full; set it to noeviction"
            )
        saved = _setting(link, "appendonly")
        kept = (
            "its append-only file keeps them" if saved == "yes" else "without append-only file: see the docs"
        )
        return f"messages are not evicted; after a restart of the server {kept}"
    finally:
        link.close()


def _setting(link: Client, name: str) -> str:
    """Return a setting of the server, empty where it does not tell."""
    try:
        found = link.call(b"CONFIG", b"GET", name)
    except BackendRejected:
        # hosted servers hide their settings
        return ""
    except BackendError:
        raise
    return found[1].decode() if found else ""

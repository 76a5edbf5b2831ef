"""What the keys of a queue are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore.interfaces import Settings
    from qcore_redis.client import Client


def queue_key(settings: Settings) -> bytes:
    """Return the key of the ready messages; the braces keep all keys of a queue on one node."""
    return b"{qcore:%s}:q" % settings.name.encode()


def backend_of(link: Client, settings: Settings) -> str:
    """Return the name of this queue's keys, the same in every process."""
    return f"redis:{link.address.title}#{settings.name}"

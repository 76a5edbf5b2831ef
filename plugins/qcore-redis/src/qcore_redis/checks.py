"""What a queue needs of the server's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected
from qcore_redis.client import Client

if TYPE_CHECKING:
    from qcore.interfaces import Settings


def check(settings: Settings) -> str:
    """Return what is well, and what the server does not say; raise what would lose messages."""
    link = Client(settings.section("redis"), b"{qcore:%s}:q" % settings.name.encode())
    try:
        return f"{_evicts(link)}; {_keeps(link)}"
    finally:
        link.close()


def _evicts(link: Client) -> str:
    policy = _setting(link, "maxmemory-policy")
    if not policy:
        return "it does not show its maxmemory-policy, which must be noeviction (its user may not CONFIG GET)"
    if policy != "noeviction":
        raise BackendRejected(
            f"redis at {link.address.title} has maxmemory-policy {policy!r} and throws messages away"
            " when its memory is full; set it to noeviction"
        )
    return "messages are not evicted"


def _keeps(link: Client) -> str:
    saved = _setting(link, "appendonly")
    if not saved:
        return "nor whether it has an append-only file, without which a restart loses messages"
    if saved == "yes":
        return "after a restart of the server its append-only file keeps them"
    return "after a restart of the server without append-only file: see the docs"


def _setting(link: Client, name: str) -> str:
    """Return a setting of the server, empty where it does not show it."""
    try:
        found = link.call(b"CONFIG", b"GET", name)
    except BackendRejected:
        # hosted servers hide their settings, and a user may not have the right
        return ""
    return found[1].decode() if found else ""

"""What a queue needs of the server's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected
from qcore_mongo.client import Client

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: MongoDB 5.0
_OLDEST = 13


def check(settings: Settings) -> str:
    """Return what is well; raise what would lose messages or does not work."""
    link = Client(settings)
    try:
        hello = link.hello()
        place = link.place.title
        if hello.get("maxWireVersion", 0) < _OLDEST:
            raise BackendRejected(f"mongodb at {place} is older than 5.0; update it")
        concern = link.database.write_concern.document
        if link.replicated:
            return f"writes wait for w={concern.get('w', 1)}; idle workers are woken by change streams"
        kept = "" if concern.get("j") else "; a crash of the server takes what it wrote in the last 0.1 s"
        return f"one server alone: idle workers look every {settings.poll:g} s{kept}"
    finally:
        link.close()

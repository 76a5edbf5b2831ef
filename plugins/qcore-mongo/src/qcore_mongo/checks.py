"""Checks the server's version and settings for `qcore doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected
from qcore_mongo.client import Client

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: MongoDB 5.0
_OLDEST = 13


def check(settings: Settings) -> str:
    """Return a text about durability and wake-ups.

    Raises:
        BackendError: the server is too old or does not answer.
    """
    client = Client(settings)
    try:
        hello = client.hello()
        address = client.address.title
        if hello.get("maxWireVersion", 0) < _OLDEST:
            raise BackendRejected(f"mongodb at {address} is older than 5.0; upgrade it")
        concern = client.database.write_concern.document
        if client.replicated:
            return f"writes wait for w={concern.get('w', 1)}; change streams wake idle workers"
        kept = "" if concern.get("j") else "; a crash of the server loses its writes of the last 0.1 s"
        return f"standalone server: idle workers poll every {settings.poll:g} s{kept}"
    finally:
        client.close()

"""Checks the server's version and settings for `qcore doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected
from qcore_mongo.client import Client
from qcore_mongo.indexes import Kind

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
            return f"writes wait for w={concern.get('w', 1)}; {_wakeup(client, settings)}"
        kept = "" if concern.get("j") else "; a crash of the server loses its writes of the last 0.1 s"
        return f"standalone server: idle workers poll every {settings.poll:g} s{kept}"
    finally:
        client.close()


def _wakeup(client: Client, settings: Settings) -> str:
    """Return what wakes idle workers."""
    name = Kind.MESSAGES.collection(settings.name)
    database = client.database
    # Unlike the collection of a worker, this one is not created by looking.
    watch = {"aggregate": name, "pipeline": [{"$changeStream": {}}], "cursor": {}}
    try:
        opened = client.do(lambda: database.command(watch))
        client.do(lambda: database.command({"killCursors": name, "cursors": [opened["cursor"]["id"]]}))
    except BackendRejected as exc:
        return (
            f"idle workers poll every {settings.poll:g} s, because they may not open a change stream: {exc}"
        )
    return "change streams wake idle workers"

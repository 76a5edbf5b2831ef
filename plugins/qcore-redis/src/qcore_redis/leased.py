"""What a lease has brought, with the bodies that lie apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore.model import Delivery
from qcore_redis import codec
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from qcore_redis.client import Client

_log = logging.getLogger("qcore_redis.leased")


def deliveries(link: Client, prefix: bytes, token: bytes, found: list[bytes]) -> list[Delivery]:
    """Return the messages among the items of a lease, each with its body."""
    empty: list[int] = []
    messages = codec.deliveries(token, found, empty)
    if empty:
        _log.error("redis at %s: something that is not a message was put into the queue", link.address.title)
        link.run(script("restore_heads"), token, *empty)
    if len(messages) < len(found) and not messages:
        # nothing but a nudge
        link.post(script("drop_lease"), token)
    far = [number for number, one in enumerate(messages) if codec.is_far(one.receipt)]
    if far:
        keys = [prefix + b"b:" + messages[number].body for number in far]
        for number, body in zip(far, link.call(b"MGET", *keys), strict=True):
            messages[number] = _with_body(link, messages[number], body)
    return messages


def _with_body(link: Client, one: Delivery, body: bytes | None) -> Delivery:
    if body is None:
        _log.error(
            "a body is gone from redis at %s: is its maxmemory-policy `noeviction`?", link.address.title
        )
    return Delivery(body or b"", one.receipt, one.deliveries, one.failures, one.crashes, one.available)

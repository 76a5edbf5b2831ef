"""Decides by which commands messages are accepted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qcore_redis import codec
from qcore_redis.connection import pack_set
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.model import Outgoing
    from qcore_redis.client import Client
    from qcore_redis.connection import Word

#: milliseconds until a body is gone that nothing came behind: a producer died between the two
_ORPHANED: Final = 60_000


def enqueue(link: Client, queue: bytes, messages: Sequence[Outgoing]) -> None:
    """Accept messages in one round trip, whatever their number."""
    items, large, odd = [], [], False
    for message in messages:
        body = message.body
        if message.delay > 0 or message.queue or message.priority:
            odd = True
        if len(body) > codec.LARGE:
            large.append(body)
            items.append(b"")
        else:
            items.append(b"\0" + body)
    if large:
        _enqueue_large(link, queue, messages, large, None if odd else items)
    elif odd:
        _enqueue_odd(link, messages)
    elif items:
        link.call(b"RPUSH", queue, *items, unknown_outcome=codec.UNKNOWN_OUTCOME, replicated=True)


def _enqueue_large(
    link: Client,
    queue: bytes,
    messages: Sequence[Outgoing],
    large: Sequence[bytes],
    items: list[bytes] | None,
) -> None:
    """Store bodies, and accept the messages right behind them; `items` where all are of the default kind."""
    ids = [os.urandom(codec.BODY_ID) for _ in large]
    prefix = queue[:-1] + b"b:"
    bodies = [pack_set(prefix + id_, body, _ORPHANED) for id_, body in zip(ids, large, strict=True)]
    words: Iterable[Word]
    if items is None:
        put, words = script("put", "enqueue", fills=True), codec.words(messages, ids)
    else:
        put, next_id = script("enqueue_large", fills=True, alone=True), iter(ids)
        words = (item or codec.far_item(next(next_id)) for item in items)
    if not link.run_behind(
        bodies, put, len(ids), *ids, *words, unknown_outcome=codec.UNKNOWN_OUTCOME, replicated=True
    ):
        # nothing was done; what the reason is, and whether it passes, the usual way finds out
        _enqueue_odd(link, messages)


def _enqueue_odd(link: Client, messages: Sequence[Outgoing]) -> None:
    put = script("put", "enqueue", fills=True)
    link.run(put, 0, *codec.words(messages), unknown_outcome=codec.UNKNOWN_OUTCOME, replicated=True)

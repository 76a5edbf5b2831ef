"""A message in memory."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, gc=False):
    """A message and what is known of it."""

    id: bytes
    body: bytes
    #: place in the queue; kept when a lease is released, so that nothing is overtaken
    index: int
    #: when it may be leased, by the queue's clock
    due: float
    #: empty = the default one
    queue: str = ""
    priority: int = 0
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0
    #: name of the lease that holds, b"" = none
    receipt: bytes = b""
    #: when that lease ends, by the queue's clock
    until: float = 0.0
    #: names the process that holds that lease
    owner: bytes = b""
    #: epoch seconds when the last lease ran out, 0.0 = it was settled
    available: float = 0.0

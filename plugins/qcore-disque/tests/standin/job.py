"""A job of the stand-in for Disque, and what replies are made of."""

from __future__ import annotations

import base64
import os
import time
from typing import Any


class Refused(Exception):
    """An error reply."""


class Status(bytes):
    """A simple string, sent with a plus."""


class Job:
    """One job."""

    def __init__(self, node: str, queue: bytes, body: bytes, *, delay: int, retry: int, ttl: int) -> None:
        minutes = min(0xFFFF, ttl // 60)
        minutes = minutes | 1 if retry > 0 else minutes & ~1
        text = base64.b64encode(os.urandom(18)).decode()
        self.id = f"D-{node[:8]}-{text}-{minutes:04x}".encode()
        self.queue, self.body, self.delay, self.retry, self.ttl = queue, body, delay, retry, ttl
        self.born = time.time()
        self.state = b"active"
        self.nacks = self.additional = 0
        #: when it is queued by itself, None = not
        self.due: float | None = self.born + delay if delay else None
        self.delivered = False

    def shown(self) -> list[Any]:
        """Return the flat map of SHOW."""
        left = 0 if self.due is None else max(0, int((self.due - time.time()) * 1000))
        return [
            b"id", self.id, b"queue", self.queue, b"state", self.state, b"repl", 1,
            b"ttl", int(max(0, self.born + self.ttl - time.time())), b"ctime", int(self.born * 1e9),
            b"delay", self.delay, b"retry", self.retry, b"nacks", self.nacks,
            b"additional-deliveries", self.additional, b"nodes-delivered", [], b"nodes-confirmed", [],
            b"next-requeue-within", left, b"next-awake-within", left, b"body", self.body,
        ]  # fmt: skip

"""A node's copy of a job in the stand-in for Disque, and what replies are made of."""

from __future__ import annotations

import base64
import os
from typing import Any


class Refused(Exception):
    """An error reply."""


class Status(bytes):
    """A simple string, sent with a plus."""


def job_id(node: str, *, retry: int, ttl: int) -> bytes:
    """Return a new id: it bears the beginning of the node's, and the minutes a job lives."""
    minutes = min(0xFFFF, ttl // 60)
    minutes = minutes | 1 if retry > 0 else minutes & ~1
    text = base64.b64encode(os.urandom(18)).decode()
    return f"D-{node[:8]}-{text}-{minutes:04x}".encode()


class Job:
    """One node's copy of a job."""

    def __init__(
        self, id_: bytes, queue: bytes, body: bytes, born: float, *, delay: int, retry: int, ttl: int
    ) -> None:
        self.id, self.queue, self.body, self.born = id_, queue, body, born
        self.delay, self.retry, self.ttl = delay, retry, ttl
        self.repl = 1
        self.state = b"active"
        self.nacks = self.additional = 0
        #: when it is queued by itself, None = not
        self.due: float | None = born + (delay or retry) if delay or retry else None
        #: whether queueing it is sent to the other nodes and counted as one more delivery
        self.told = False
        #: ids of the nodes that may have a copy; none for an acknowledgement of an unknown job
        self.delivered: set[str] = set()
        #: ids of the nodes that know that it is acknowledged
        self.confirmed: set[str] = set()

    @classmethod
    def acknowledged(cls, id_: bytes, now: float) -> Job:
        """Return what a node keeps of a job that it does not know and that was acknowledged."""
        job = cls(id_, b"", b"", now, delay=0, retry=0, ttl=int(id_[-4:], 16) * 60)
        job.state = b"acked"
        return job

    def copy(self) -> Job:
        """Return a copy for another node, which queues it if the first one does not."""
        made = Job(
            self.id, self.queue, self.body, self.born, delay=self.delay, retry=self.retry, ttl=self.ttl
        )
        made.repl, made.nacks, made.additional = self.repl, self.nacks, self.additional
        made.told, made.delivered = True, set(self.delivered)
        # the node it was added to comes first
        made.due = self.born + self.delay + self.retry if self.retry else None
        return made

    def shown(self, now: float) -> list[Any]:
        """Return the flat map of SHOW."""
        left = 0 if self.due is None else max(0, int((self.due - now) * 1000))
        return [
            b"id", self.id, b"queue", self.queue, b"state", self.state, b"repl", self.repl,
            b"ttl", int(max(0, self.born + self.ttl - now)), b"ctime", int(self.born * 1e9),
            b"delay", self.delay, b"retry", self.retry, b"nacks", self.nacks,
            b"additional-deliveries", self.additional,
            b"nodes-delivered", [node.encode() for node in sorted(self.delivered)],
            b"nodes-confirmed", [node.encode() for node in sorted(self.confirmed)],
            b"next-requeue-within", left, b"next-awake-within", left, b"body", self.body,
        ]  # fmt: skip

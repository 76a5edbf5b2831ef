"""The queues of the stand-in for Disque: looked at, listed and paused."""

from __future__ import annotations

import asyncio
import bisect
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from job import Job, Refused, Status
from options import integer, option

if TYPE_CHECKING:
    from clock import Clock


class Queue(deque[Job]):
    """One queue in the order jobs were made, and what is counted of it."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.born = self.used = now
        self.came = self.went = self.blocked = 0
        #: none, in, out or all
        self.pause = b"none"


class Queues:
    """The commands about queues, and what lists jobs."""

    def __init__(self, number: int, clock: Clock) -> None:
        self.number, self.clock = number, clock
        self.id = os.urandom(20).hex()
        self.jobs: dict[bytes, Job] = {}
        self.queues: dict[bytes, Queue] = {}
        self.came = asyncio.Event()

    def queue(self, name: bytes) -> Queue:
        """Return a queue, which is made if it is not there."""
        return self.queues.setdefault(name, Queue(self.clock.now()))

    def put(self, job: Job) -> None:
        """Put a job on its queue."""
        queue = self.queue(job.queue)
        bisect.insort(queue, job, key=_order)
        queue.came, queue.used = queue.came + 1, self.clock.now()
        self.wake()

    def take_off(self, job: Job) -> bool:
        """Take a job off its queue."""
        if job.state != b"queued":
            return False
        self.queue(job.queue).remove(job)
        job.state = b"active"
        return True

    def fetch(self, name: bytes, count: int) -> list[Job]:
        """Take the oldest jobs off a queue; when they are queued again stays as it was."""
        queue = self.queue(name)
        found = [queue.popleft() for _ in range(min(count, len(queue)))]
        for job in found:
            job.state = b"active"
        queue.went, queue.used = queue.went + len(found), self.clock.now()
        return found

    def wake(self) -> None:
        """Let those who wait look again."""
        self.came.set()
        self.came = asyncio.Event()

    def told(self, job: Job, *, counters: bool) -> list[Any]:
        """Return a job as GETJOB does."""
        extra = [b"nacks", job.nacks, b"additional-deliveries", job.additional] if counters else []
        return [job.queue, job.id, job.body, *extra]

    def do_qlen(self, name: bytes) -> int:
        """Count what is queued."""
        return len(self.queues.get(name, ()))

    def do_qpeek(self, name: bytes, count: bytes) -> list[Any]:
        """Show what is queued: the oldest first, or with a negative count the newest."""
        jobs, wanted = list(self.queues.get(name, ())), integer(count)
        chosen = jobs[:wanted] if wanted >= 0 else jobs[wanted:][::-1]
        return [self.told(job, counters=False) for job in chosen]

    def do_qstat(self, name: bytes) -> list[Any] | None:
        """Describe a queue."""
        queue = self.queues.get(name)
        if queue is None:
            return None
        now = self.clock.now()
        return [
            b"name", name, b"len", len(queue), b"age", int(now - queue.born),
            b"idle", int(now - queue.used), b"blocked", queue.blocked, b"import-from", [],
            b"import-rate", 0, b"jobs-in", queue.came, b"jobs-out", queue.went, b"pause", queue.pause,
        ]  # fmt: skip

    def do_qscan(self, *words: bytes) -> list[Any]:
        """QSCAN [cursor] [COUNT n] [BUSYLOOP] [MINLEN n] [MAXLEN n] [IMPORTRATE n]: all in one step."""
        rest, least, most, imported = _behind_cursor(words), 0, None, 0
        while rest:
            word = rest.pop(0).upper()
            if word == b"BUSYLOOP":
                continue
            if word not in {b"COUNT", b"MINLEN", b"MAXLEN", b"IMPORTRATE"} or not rest:
                raise Refused("ERR syntax error")
            value = rest.pop(0)
            number = option(word, value) if word == b"COUNT" else integer(value)
            least = number if word == b"MINLEN" else least
            most = number if word == b"MAXLEN" else most
            imported = number if word == b"IMPORTRATE" else imported
        lengths = {name: len(queue) for name, queue in self.queues.items() if imported <= 0}
        found = [name for name, size in lengths.items() if size >= least and (most is None or size <= most)]
        return [b"0", found]

    def do_pause(self, name: bytes, *how: bytes) -> Status:
        """PAUSE queue none|in|out|all|state [bcast]: pause a queue, or let it go on."""
        wanted: set[bytes] | None = None
        for word in map(bytes.lower, how):
            if word in {b"none", b"in", b"out", b"all"}:
                wanted = (wanted or set()) | {b"none": set(), b"all": {b"in", b"out"}}.get(word, {word})
            elif word not in {b"state", b"bcast"}:
                raise Refused("ERR syntax error")
        queue = self.queue(name) if wanted else self.queues.get(name)
        if queue is None:
            return Status(b"none")
        if wanted is not None:
            queue.pause = b"all" if len(wanted) == 2 else next(iter(wanted), b"none")
            self.wake()
        return Status(queue.pause)

    def do_jscan(self, *words: bytes) -> list[Any]:
        """JSCAN [cursor] [COUNT n] [BUSYLOOP] [QUEUE q] [STATE s]... [REPLY id|all]: all in one step."""
        rest, states, every = _behind_cursor(words), set(), False
        name: bytes | None = None
        while rest:
            word = rest.pop(0).upper()
            if word == b"BUSYLOOP":
                continue
            if word not in {b"COUNT", b"QUEUE", b"STATE", b"REPLY"} or not rest:
                raise Refused("ERR syntax error")
            value = rest.pop(0)
            match word:
                case b"COUNT":
                    option(word, value)
                case b"QUEUE":
                    name = value
                case b"STATE":
                    states.add(_one_of(value, b"wait-repl", b"active", b"queued", b"acked"))
                case _:
                    every = _one_of(value, b"id", b"all") == b"all"
        found = [
            job
            for job in list(self.jobs.values())
            if name in {None, job.queue} and (not states or job.state in states)
        ]
        return [b"0", [job.shown(self.clock.now()) if every else Status(job.id) for job in found]]


def _order(job: Job) -> tuple[float, bytes]:
    return job.born, job.id


def _behind_cursor(words: tuple[bytes, ...]) -> list[bytes]:
    return list(words[1:] if words and words[0].isdigit() else words)


def _one_of(value: bytes, *known: bytes) -> bytes:
    if value.lower() not in known:
        raise Refused("ERR syntax error")
    return value.lower()

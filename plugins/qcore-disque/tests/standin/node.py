"""A stand-in for a Disque node: its commands, as measured on 1.0-rc1.

Not a Disque server: no package brings one. It keeps jobs in memory and has no other nodes; what it
is asked is answered as a lone real node answers, errors included.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from job import Job, Refused, Status
from options import LEAST, checked, job_id, option, timeout
from queues import Queues

#: seconds between two looks at timeouts, as the server's own cron
CRON = 0.1


class Node(Queues):
    """A server with no other nodes."""

    def __init__(self, password: str) -> None:
        super().__init__()
        self.id = os.urandom(20).hex()
        self.password = password.encode()
        self.port = 0
        #: commands so far
        self.asked = 0
        #: other nodes HELLO tells of; set by DEBUG MEET
        self.met: list[list[bytes]] = []
        #: errors to answer with, by command, each once: set by DEBUG FAIL
        self.failing: dict[bytes, list[bytes]] = {}

    # -- jobs -------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> None:
        """Put a job on its queue."""
        job.state, job.due = b"queued", None
        queue = self.queue(job.queue)
        queue.append(job)
        queue.came, queue.used = queue.came + 1, time.time()
        self.wake()

    def take_off(self, job: Job) -> bool:
        """Take a job off its queue."""
        queue = self.queues.get(job.queue)
        if queue is None or job not in queue:
            return False
        queue.remove(job)
        job.state = b"active"
        return True

    async def cron(self) -> None:
        """Queue what is due and forget what is too old, ten times a second."""
        while True:
            now = time.time()
            for job in list(self.jobs.values()):
                if now >= job.born + job.ttl:
                    self.forget(job)
                elif job.due is not None and now >= job.due and job.state == b"active":
                    # the end of a delay is no second delivery
                    job.additional += int(job.delivered)
                    self.enqueue(job)
            await asyncio.sleep(CRON)

    def forget(self, job: Job) -> None:
        """Remove a job."""
        self.take_off(job)
        job.state = b"acked"
        self.jobs.pop(job.id, None)

    # -- commands ---------------------------------------------------------------------------

    async def answer(self, words: list[bytes], client: dict[str, Any]) -> Any:
        """Return the reply to a command."""
        self.asked += 1
        name = checked(words)
        if name == "auth":
            return self.auth(words[1], client)
        if self.password and not client.get("known"):
            raise Refused("NOAUTH Authentication required.")
        failing = self.failing.get(name.upper().encode())
        if failing:
            raise Refused(failing.pop(0).decode())
        reply = getattr(self, f"do_{name}")(*words[1:])
        return await reply if asyncio.iscoroutine(reply) else reply

    def auth(self, word: bytes, client: dict[str, Any]) -> Status:
        """Check the password, the old way: no user name."""
        if not self.password:
            raise Refused("ERR Client sent AUTH, but no password is set")
        client["known"] = word == self.password
        if not client["known"]:
            raise Refused("ERR invalid password")
        return Status(b"OK")

    def do_ping(self, *words: bytes) -> Status:
        """Give a sign of life."""
        return Status(b"PONG")

    def do_time(self) -> list[bytes]:
        """Tell the time."""
        return [b"%d" % part for part in divmod(time.time_ns() // 1000, 1_000_000)]

    def do_hello(self) -> list[Any]:
        """Tell of the cluster: takes no argument, unlike the command of Redis."""
        return [1, self.id.encode(), [self.id.encode(), b"127.0.0.1", b"%d" % self.port, b"1"], *self.met]

    def do_info(self, *words: bytes) -> bytes:
        """Tell of the server."""
        return b"# Server\r\ndisque_version:1.0-rc1\r\ntcp_port:%d\r\n" % self.port

    def do_debug(self, *words: bytes) -> Status | int:
        """DEBUG FAIL command error: the next fails; ASKED: how many came; MEET id ip port priority."""
        if words[0].upper() == b"ASKED":
            return self.asked
        if words[0].upper() == b"FAIL":
            self.failing.setdefault(words[1].upper(), []).append(words[2])
        if words[0].upper() == b"MEET":
            self.met.append(list(words[1:]))
        return Status(b"OK")

    def do_addjob(self, *words: bytes) -> Status:
        """ADDJOB queue body ms-timeout [REPLICATE n] [DELAY s] [RETRY s] [TTL s] [MAXLEN n] [ASYNC]."""
        queue, body, wait, *rest = words
        timeout(wait)
        told: dict[bytes, int] = {}
        while rest:
            word = rest.pop(0).upper()
            if word == b"ASYNC":
                continue
            if word not in LEAST or not rest:
                raise Refused("ERR syntax error")
            told[word] = option(word, rest.pop(0))
        ttl = told.get(b"TTL", 86400)
        retry = told.get(b"RETRY", max(1, min(ttl // 10, 300)))
        delay = told.get(b"DELAY", 0)
        if retry == 0 and told.get(b"REPLICATE", 1) > 1:
            raise Refused("ERR With RETRY set to 0 please explicitly set REPLICATE to 1")
        if delay > ttl:
            raise Refused("ERR The specified DELAY is greater than TTL. Job refused")
        if told.get(b"REPLICATE", 1) > 1:
            raise Refused("NOREPL Not enough reachable nodes for the requested replication level")
        if queue in self.queues and self.queues[queue].pause in {b"in", b"all"}:
            raise Refused("PAUSED Queue paused in input, try later")
        if b"MAXLEN" in told and len(self.queues.get(queue, ())) >= told[b"MAXLEN"]:
            raise Refused("MAXLEN Queue is already longer than the specified MAXLEN count")
        job = Job(self.id, queue, body, delay=delay, retry=retry, ttl=ttl)
        self.jobs[job.id] = job
        if not delay:
            self.enqueue(job)
        return Status(job.id)

    async def do_getjob(self, *words: bytes) -> Any:
        """GETJOB [NOHANG] [TIMEOUT ms] [COUNT n] [WITHCOUNTERS] FROM queue ..."""
        rest, hang, counters, count, end = list(words), True, False, 1, None
        while rest and rest[0].upper() != b"FROM":
            word = rest.pop(0).upper()
            if word == b"NOHANG":
                hang = False
            elif word == b"WITHCOUNTERS":
                counters = True
            elif word == b"COUNT" and rest:
                count = option(b"COUNT", rest.pop(0))
            elif word == b"TIMEOUT" and rest:
                end = time.monotonic() + timeout(rest.pop(0)) / 1000
            else:
                raise Refused("ERR syntax error")
        if len(rest) < 2:
            raise Refused("ERR syntax error")
        queues = [self.queue(name) for name in rest[1:]]
        while True:
            came = self.came
            found = self.take(rest[1:], count)
            if found or not hang or (end is not None and time.monotonic() >= end):
                return [self.told(job, counters=counters) for job in found] or None
            for queue in queues:
                queue.blocked += 1
            try:
                await asyncio.wait_for(came.wait(), None if end is None else end - time.monotonic() + CRON)
            except TimeoutError:
                continue
            finally:
                for queue in queues:
                    queue.blocked -= 1

    def take(self, names: list[bytes], count: int) -> list[Job]:
        """Hand out jobs of the first queues that have any."""
        found: list[Job] = []
        for name in names:
            queue = self.queue(name)
            while queue and len(found) < count and queue.pause not in {b"out", b"all"}:
                job = queue.popleft()
                queue.went, queue.used = queue.went + 1, time.time()
                job.state, job.delivered = b"active", True
                job.due = time.time() + job.retry if job.retry else None
                found.append(job)
        return found

    def do_ackjob(self, *ids: bytes) -> int:
        """Forget jobs; return how many were known."""
        found = [self.jobs[id_] for id_ in map(job_id, ids) if id_ in self.jobs]
        for job in found:
            self.forget(job)
        return len(found)

    do_fastack = do_deljob = do_ackjob

    def do_nack(self, *ids: bytes) -> int:
        """Queue jobs again at once."""
        found = [self.jobs[id_] for id_ in map(job_id, ids) if id_ in self.jobs]
        for job in found:
            self.take_off(job)
            job.nacks += 1
            self.enqueue(job)
        return len(found)

    def do_working(self, id_: bytes) -> int:
        """Begin a job's retry time anew."""
        job = self.jobs.get(job_id(id_))
        if job is None:
            raise Refused("NOJOB Job not known in the context of this node.")
        if time.time() > job.born + job.ttl / 2:
            raise Refused("TOOLATE Half of job TTL already elapsed, you are no longer allowed to postpone it")
        if job.state == b"active" and job.due is not None:
            job.due = time.time() + job.retry
        return job.retry

    def do_show(self, id_: bytes) -> Any:
        """Show a job."""
        job = self.jobs.get(job_id(id_))
        return job.shown() if job else None

    def do_enqueue(self, *ids: bytes) -> int:
        """Queue jobs that are not queued."""
        found = [self.jobs[id_] for id_ in map(job_id, ids) if id_ in self.jobs]
        idle = [job for job in found if job.state != b"queued"]
        for job in idle:
            self.enqueue(job)
        return len(idle)

    def do_dequeue(self, *ids: bytes) -> int:
        """Take jobs off their queue."""
        return sum(self.take_off(self.jobs[id_]) for id_ in map(job_id, ids) if id_ in self.jobs)

"""A stand-in for a Disque node: its commands, as measured on 1.0-rc1.

Not a Disque server: no package brings one. It keeps jobs in memory; what it is asked is answered as a
real node of its cluster answers, errors included, and what it does with a job follows the source.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bus import Bus
from job import Job, Refused, Status, job_id
from options import LEAST, checked, known_id, option, timeout

if TYPE_CHECKING:
    from clock import Clock

#: seconds between two looks at timeouts, as the server's own cron
CRON = 0.1
LEAVING = "LEAVING this node is leaving the cluster, please connect to a different one"


class Node(Bus):
    """A server, alone or one of several."""

    def __init__(self, number: int, clock: Clock, password: str) -> None:
        super().__init__(number, clock)
        self.password = password.encode()
        self.port = 0
        #: commands so far
        self.asked = 0
        #: errors to answer with, by command, each once: set by DEBUG FAIL
        self.failing: dict[bytes, list[bytes]] = {}

    def forget_all(self) -> None:
        """Lose what is in memory, as a server does that ends."""
        self.jobs, self.queues = {}, {}
        self.wake()

    def cron(self) -> None:
        """Queue what is due, forget what is too old, and go on with what has ended."""
        now = self.clock.now()
        for job in list(self.jobs.values()):
            if now >= job.born + job.ttl:
                self.take_off(job)
                self.jobs.pop(job.id, None)
            elif job.state == b"acked":
                self.collect(job)
            elif job.due is not None and now >= job.due:
                if job.state == b"active":
                    self.due(job)
                else:
                    job.due = now + job.retry if job.retry else None
        for name, queue in list(self.queues.items()):
            if queue.blocked:
                self.need(name)

    # -- the connection and the cluster -------------------------------------------------------

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
        return [b"%d" % part for part in divmod(int(self.clock.now() * 1e6), 1_000_000)]

    def do_hello(self) -> list[Any]:
        """Describe the cluster, itself first: takes no argument, unlike the command of Redis."""
        nodes = [self, *(node for node in self.nodes if node is not self)]
        return [1, self.id.encode(), *(self.introduced(node) for node in nodes)]

    def introduced(self, node: Any) -> list[bytes]:
        """Return what HELLO says of a node: 1 is well, 100 is gone or leaves."""
        there = node is self or node in self.others()
        priority = b"1" if there and not node.leaving else b"100"
        return [node.id.encode(), b"127.0.0.1", b"%d" % node.port, priority]

    def do_info(self, *words: bytes) -> bytes:
        """Describe the server."""
        return b"# Server\r\ndisque_version:1.0-rc1\r\ntcp_port:%d\r\n" % self.port

    def do_cluster(self, word: bytes, *rest: bytes) -> Status:
        """CLUSTER LEAVING [yes|no]: tell or set whether the node leaves its cluster."""
        if word.upper() != b"LEAVING":
            raise Refused("ERR syntax error")
        if rest:
            self.leaving = rest[0].lower() == b"yes"
        return Status(b"OK" if rest else b"yes" if self.leaving else b"no")

    def do_debug(self, word: bytes, *rest: bytes) -> Status | int:
        """Do what only a test asks for.

        FAIL command error: the next such command fails; ASKED: how many came; ADVANCE seconds: let time
        pass; CUT number: no word with that node any more; MEND: with all of them again.
        """
        match word.upper():
            case b"ASKED":
                return self.asked
            case b"FAIL":
                self.failing.setdefault(rest[0].upper(), []).append(rest[1])
            case b"ADVANCE":
                self.clock.advance(float(rest[0]))
                for node in self.nodes:
                    node.cron()  # type: ignore[attr-defined]  # each is a Node
            case b"CUT":
                self.cut.add(int(rest[0]))
                self.nodes[int(rest[0])].cut.add(self.number)
            case b"MEND":
                for node in self.nodes:
                    node.cut.clear()
        return Status(b"OK")

    # -- jobs ---------------------------------------------------------------------------------

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
        # nodes that are gone count too, until they are forgotten
        copies = told.get(b"REPLICATE", 1 if retry == 0 else min(3, len(self.nodes)))
        if retry == 0 and copies > 1:
            raise Refused("ERR With RETRY set to 0 please explicitly set REPLICATE to 1")
        if delay > ttl:
            raise Refused("ERR The specified DELAY is greater than TTL. Job refused")
        # a node that leaves keeps no copy itself
        if copies - (not self.leaving) > len([node for node in self.others() if not node.leaving]):
            raise Refused("NOREPL Not enough reachable nodes for the requested replication level")
        if queue in self.queues and self.queues[queue].pause in {b"in", b"all"}:
            raise Refused("PAUSED Queue paused in input, try later")
        if b"MAXLEN" in told and len(self.queues.get(queue, ())) >= told[b"MAXLEN"]:
            raise Refused("MAXLEN Queue is already longer than the specified MAXLEN count")
        name = job_id(self.id, retry=retry, ttl=ttl)
        job = Job(name, queue, body, self.clock.stamp(), delay=delay, retry=retry, ttl=ttl)
        job.repl = copies
        self.keep(job, copies)
        return Status(job.id)

    def keep(self, job: Job, copies: int) -> None:
        """Give a new job to as many nodes as it asks for, and queue it on one of them."""
        if self.leaving:
            first, *_ = self.replicate(job, copies)
            if not job.delay:
                first.jobs[job.id].told = False
                first.enqueue(first.jobs[job.id])
            return
        self.jobs[job.id] = job
        job.delivered.add(self.id)
        self.replicate(job, copies - 1)
        if not job.delay:
            self.enqueue(job)

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
        while not (found := self.take(rest[1:], count)):
            if not hang:
                # what the others have comes for whoever asks next
                for name in rest[1:]:
                    self.need(name)
                return None
            if self.leaving:
                raise Refused(LEAVING)
            if end is not None and time.monotonic() >= end:
                return None
            await self.wait(rest[1:], end)
        return [self.told(job, counters=counters) for job in found]

    async def wait(self, names: list[bytes], end: float | None) -> None:
        """Wait until something comes, or for the end."""
        queues, came = [self.queue(name) for name in names], self.came
        for queue in queues:
            queue.blocked += 1
        try:
            for name in names:
                self.need(name)
            await asyncio.wait_for(
                came.wait(), None if end is None else max(0, end - time.monotonic()) + CRON
            )
        except TimeoutError:
            return
        finally:
            for queue in queues:
                queue.blocked -= 1

    def take(self, names: list[bytes], count: int) -> list[Job]:
        """Hand out one job of each queue in turn, as `getjobCommand` of Disque does."""
        found: list[Job] = []
        while True:
            before = len(found)
            for name in names:
                if len(found) < count and self.queue(name).pause not in {b"out", b"all"}:
                    found += self.fetch(name, 1)
            if len(found) in {before, count}:
                return found

    def known(self, ids: tuple[bytes, ...]) -> list[Job]:
        """Return those jobs that this node has a copy of, if all ids look like ids."""
        return [self.jobs[id_] for id_ in [known_id(one) for one in ids] if id_ in self.jobs]

    def do_ackjob(self, *ids: bytes) -> int:
        """Acknowledge jobs wherever they are, known here or not; return how many this node knew."""
        count = sum(self.acknowledge(job) for job in self.known(ids))
        for id_ in ids:
            self.collect(self.jobs.setdefault(id_, Job.acknowledged(id_, self.clock.now())))
        return count

    def do_fastack(self, *ids: bytes) -> int:
        """Remove jobs from every node that can be reached now; return how many this node knew."""
        count = self.do_deljob(*ids)
        for node in self.others():
            node.do_deljob(*ids)  # type: ignore[attr-defined]  # each is a Node
        return count

    def do_deljob(self, *ids: bytes) -> int:
        """Remove jobs from this node, and from no other."""
        found = self.known(ids)
        for job in found:
            self.take_off(job)
            self.jobs.pop(job.id)
        return len(found)

    def do_nack(self, *ids: bytes) -> int:
        """Queue jobs again at once, those this node has a copy of."""
        return sum(self.enqueue(job, nack=True) for job in self.known(ids))

    def do_enqueue(self, *ids: bytes) -> int:
        """Queue jobs that are not queued, those this node has a copy of."""
        return sum(self.enqueue(job) for job in self.known(ids))

    def do_dequeue(self, *ids: bytes) -> int:
        """Take jobs off this node's queue."""
        return sum(self.take_off(job) for job in self.known(ids))

    def do_working(self, id_: bytes) -> int:
        """Begin a job's retry time anew, on every node that has a copy."""
        found = self.known((id_,))
        if not found:
            raise Refused("NOJOB Job not known in the context of this node.")
        (job,) = found
        if self.clock.now() > job.born + job.ttl / 2:
            raise Refused("TOOLATE Half of job TTL already elapsed, you are no longer allowed to postpone it")
        self.take_off(job)
        if job.due is not None and job.state == b"active":
            job.due = self.clock.now() + job.retry
        for node in self.others(job.delivered):
            node.worked_on_elsewhere(self, job.id)
        return job.retry

    def do_show(self, id_: bytes) -> Any:
        """Show this node's copy of a job."""
        job = self.jobs.get(known_id(id_))
        return job.shown(self.clock.now()) if job else None

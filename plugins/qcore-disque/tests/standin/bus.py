"""What the nodes of the stand-in for Disque tell each other.

Each message is a call, and arrives at once, or not at all where a node is down or cut off. What is
told follows Disque's state machine: copies of jobs, who has queued one, acknowledgements and their
garbage collection, and jobs handed on to where they are waited for.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from queues import Queues

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clock import Clock
    from job import Job

#: jobs a node asks another for
NEEDED = 5


class Bus(Queues):
    """One node, as the others see it."""

    def __init__(self, number: int, clock: Clock) -> None:
        super().__init__(number, clock)
        #: all nodes of the cluster, itself among them
        self.nodes: list[Bus] = [self]
        self.up = True
        self.leaving = False
        #: numbers of the nodes that it cannot speak with
        self.cut: set[int] = set()

    def others(self, ids: Iterable[str] | None = None) -> list[Bus]:
        """Return the other nodes that can be reached, of these ids only."""
        return [
            node
            for node in self.nodes
            if node is not self
            and node.up
            and node.number not in self.cut
            and (ids is None or node.id in ids)
        ]

    # -- copies -------------------------------------------------------------------------------

    def replicate(self, job: Job, copies: int) -> list[Bus]:
        """Give so many other nodes a copy, chosen by chance; return those."""
        chosen = random.sample([node for node in self.others() if not node.leaving], copies)
        job.delivered |= {node.id for node in chosen}
        for node in chosen:
            node.jobs[job.id] = job.copy()
        return chosen

    # -- queueing -----------------------------------------------------------------------------

    def enqueue(self, job: Job, *, nack: bool = False) -> bool:
        """Put an active job on its queue; but for the first time, the nodes with a copy hear of it."""
        if job.state != b"active":
            return False
        now = self.clock.now()
        job.state, job.due = b"queued", now + job.retry if job.retry else None
        if job.told or nack:
            self.count(job, nack=nack)
            for node in self.others(job.delivered):
                node.queued_elsewhere(self, job.id, counted=True, nack=nack)
        job.told = True
        self.put(job)
        return True

    def count(self, job: Job, *, nack: bool) -> None:
        """Count one more delivery."""
        if nack:
            job.nacks += 1
        else:
            job.additional += 1

    def queued_elsewhere(self, sender: Bus, id_: bytes, *, counted: bool, nack: bool) -> None:
        """Hear that another node has queued a job: the one with the greater id keeps it there."""
        job = self.jobs.get(id_)
        if job is None:
            return
        if job.state == b"acked":
            sender.acknowledged_elsewhere(self, id_, len(job.delivered))
            return
        job.delivered.add(sender.id)
        if job.state == b"queued" and sender.id > self.id:
            self.take_off(job)
        if job.retry:
            job.due = self.clock.now() + job.retry
        if counted:
            self.count(job, nack=nack)

    def worked_on_elsewhere(self, sender: Bus, id_: bytes) -> None:
        """Hear that somebody works on a job: it is queued nowhere."""
        job = self.jobs.get(id_)
        if job is None or job.state == b"acked":
            return
        job.delivered.add(sender.id)
        self.take_off(job)
        if job.retry:
            job.due = self.clock.now() + job.retry

    def due(self, job: Job) -> None:
        """Queue a job whose time has come, unless another node has it queued, or knows of its end."""
        for node in self.others(job.delivered):
            found = node.jobs.get(job.id)
            if found is not None and found.state == b"acked":
                self.acknowledge(job)
                self.collect(job)
                return
            if found is not None and found.state == b"queued":
                job.due = self.clock.now() + job.retry if job.retry else None
                return
        self.enqueue(job)

    # -- acknowledgements ---------------------------------------------------------------------

    def acknowledge(self, job: Job) -> bool:
        """Note that a job has ended; return whether that is new."""
        if job.state == b"acked":
            return False
        self.take_off(job)
        job.state, job.confirmed = b"acked", {self.id}
        return True

    def collect(self, job: Job) -> None:
        """Tell the nodes that may have a copy; forget the job once all of them know."""
        if job.id not in self.jobs:
            return
        unknown = not job.delivered
        for node in self.others(None if unknown else job.delivered - job.confirmed):
            known = node.acknowledged_elsewhere(self, job.id, len(job.delivered))
            if unknown and known:
                # it is up to a node that knows the job
                self.jobs.pop(job.id, None)
                return
            job.confirmed.add(node.id)
        wanted = {node.id for node in self.nodes} - {self.id} if unknown else job.delivered
        if wanted <= job.confirmed | {self.id}:
            for node in self.others(job.delivered):
                node.jobs.pop(job.id, None)
            self.jobs.pop(job.id, None)

    def acknowledged_elsewhere(self, sender: Bus, id_: bytes, may_have: int) -> bool:
        """Hear of an acknowledgement; return whether the job is known here."""
        job = self.jobs.get(id_)
        if job is None:
            return False
        self.acknowledge(job)
        job.confirmed.add(sender.id)
        if may_have == 0 and job.delivered:
            self.collect(job)
        return True

    # -- jobs that are waited for elsewhere ---------------------------------------------------

    def need(self, name: bytes) -> None:
        """Ask the other nodes for jobs of a queue that is empty here."""
        if self.leaving or self.queues.get(name):
            return
        for node in self.others():
            for job in node.give(name):
                self.receive(node, job)

    def give(self, name: bytes) -> list[Job]:
        """Hand some queued jobs on; a copy of each stays, but of those that are queued only once."""
        queue = self.queue(name)
        if not queue or queue.pause in {b"out", b"all"}:
            return []
        count = NEEDED if len(queue) >= 2 * NEEDED else max(1, len(queue) // 2)
        found = self.fetch(name, count)
        for job in found:
            if not job.retry:
                self.jobs.pop(job.id)
        return found

    def receive(self, sender: Bus, job: Job) -> None:
        """Queue a job that another node has handed on; its own copy knows nothing of this one."""
        mine = self.jobs.setdefault(job.id, job.copy())
        mine.delivered |= {sender.id, self.id}
        mine.told = False
        self.enqueue(mine)

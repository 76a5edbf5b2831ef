"""How the demo's files are enqueued and its results counted."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs

from qcore.app import App
from qcore.cluster import Cluster
from qcore.tasks.call import Call, Options
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.cli.progress import Progress
    from qcore.config import Config
    from qcore.interfaces import ResultStore
    from qcore.model import Result

_TASK: Final = "qcore.cli.demo_task.parse"
_OPTIONS: Final = Options()
_HEAD: Final = _OPTIONS.head(_TASK)
#: Files enqueued in one round trip: few, so that workers begin at once.
_CHUNK: Final = 100
#: Results read at once.
_LOOK: Final = 250
#: Longest wait for the oldest result before the others are read, seconds.
_WAIT: Final = 0.1
#: Seconds between two kills.
_KILL_EVERY: Final = 1.0
#: Seconds without a new result after which the size of the queue is read.
_UNKNOWN_OUTCOME: Final = 2.0
#: Seconds without a new result after which we give up: longer than the demo's timeout and retry.
_GIVE_UP: Final = 180.0


@attrs.define
class Parsed:
    """The outcome for all files."""

    files: int
    lines: int = 0
    definitions: int = 0
    #: files that do not parse, each with its reason
    failed: list[tuple[bytes, str]] = attrs.field(factory=list)
    kills: int = 0
    reruns: int = 0
    lost: int = 0
    seconds: float = 0.0
    #: why it ended early
    trouble: str = ""

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return (self.files - self.lost) / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, int | float]:
        """Return the figures for JSON."""
        return {
            "files": self.files,
            "parsed": self.files - len(self.failed) - self.lost,
            "failed": len(self.failed),
            "kills": self.kills,
            "reruns": self.reruns,
            "lost": self.lost,
            "seconds": round(self.seconds, 3),
            "tasks_per_second": round(self.rate, 1),
        }


class Chaos:
    """Kills a random worker every second."""

    def __init__(self) -> None:
        self.kills = 0
        self._next = time.monotonic() + _KILL_EVERY

    def strike(self, cluster: Cluster) -> None:
        """Kill one if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _KILL_EVERY
        victims = [one.pid for one in cluster.status().workers if one.pid]
        if not victims:
            return
        try:
            os.kill(random.choice(victims), signal.SIGKILL)  # noqa: S311 - no secret is made of it
        except ProcessLookupError:
            # It has just ended by itself.
            return
        self.kills += 1


class DemoRun:
    """One run of the demo."""

    def __init__(self, config: Config, files: Sequence[bytes], bar: Progress, chaos: Chaos | None) -> None:
        self._app = App(config)
        self._cluster = Cluster(config)
        self._files = files
        self._bar = bar
        self._chaos = chaos
        #: id and file of what is enqueued and has no final result yet, in the order of enqueuing
        self._pending: deque[tuple[bytes, bytes]] = deque()
        self._gathered = 0
        self._done = Parsed(len(files))

    def run(self) -> Parsed:
        """Enqueue all files and collect their results."""
        done = self._done
        with self._cluster:
            began = time.monotonic()
            with self._app.runtime.stores.connection() as store:
                self._work(store)
            done.seconds = time.monotonic() - began
        done.lost = len(self._pending)
        if self._chaos:
            done.kills = self._chaos.kills
        self._app.close()
        return done

    def _work(self, store: ResultStore) -> None:
        rest = iter(self._files)
        moved = time.monotonic()
        while True:
            chunk = list(islice(rest, _CHUNK))
            if chunk:
                self._enqueue(chunk)
            elif not self._pending:
                return
            else:
                store.wait(self._pending[0][0], _WAIT)
            if self._gather(store):
                moved = time.monotonic()
            self._bar.show(self._gathered, f"{self._chaos.kills} kills" if self._chaos else "")
            if self._chaos:
                self._chaos.strike(self._cluster)
            if not chunk and self._hopeless(store, time.monotonic() - moved):
                return

    def _enqueue(self, files: Sequence[bytes]) -> None:
        jobs = self._app.enqueue_many([Call(_TASK, (path,), {}, _OPTIONS, _HEAD) for path in files])
        self._pending += [(bytes.fromhex(job.id), path) for job, path in zip(jobs, files, strict=True)]

    def _gather(self, store: ResultStore) -> int:
        """Count what has ended among the oldest; return how many that were."""
        looked = [self._pending.popleft() for _ in range(min(_LOOK, len(self._pending)))]
        left = []
        for (id_, path), stored in zip(looked, store.get([id_ for id_, _ in looked]), strict=True):
            if stored is None or not stored.state.final:
                left.append((id_, path))
            else:
                self._count(path, self._app.runtime.results.read(stored))
        self._pending.extendleft(reversed(left))
        return len(looked) - len(left)

    def _count(self, path: bytes, result: Result) -> None:
        done = self._done
        self._gathered += 1
        done.reruns += max(0, result.attempts + result.crashes - 1)
        if not result.success:
            done.failed.append((path, result.error))
            return
        lines, definitions, reason = result.value
        done.lines += lines
        done.definitions += definitions
        if reason:
            done.failed.append((path, reason))

    def _hopeless(self, store: ResultStore, silence: float) -> bool:
        """Whether the missing results will never come."""
        done = self._done
        if self._cluster.pid is None:
            done.trouble = "the cluster ended before all tasks had"
        elif silence >= _GIVE_UP:
            done.trouble = f"no task has ended for {counted(round(silence), 'second')}"
        elif silence >= _UNKNOWN_OUTCOME:
            size = self._app.queue.size()
            # A settled message is no longer counted, so read the results once more.
            if not (size.ready or size.leased or size.delayed) and not self._gather(store):
                done.trouble = "the queue is empty and results are missing"
        return bool(done.trouble)

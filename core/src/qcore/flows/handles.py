"""Handles on tasks that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.errors import ResultNotReady, TaskFailed
from qcore.model import Kind, State
from qcore.tasks.task import Job
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.model import Result
    from qcore.status import TaskStatus
    from qcore.tasks.task import Producer

#: states of a task that has ended
_ENDED: Final = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
#: kinds of results of tasks that may not have run
_UNRUN: Final = frozenset({Kind.SKIPPED.value, Kind.CANCELLED.value})


class ChainJob(Job[Any]):
    """A handle on a chain: the last link's result is the chain's."""

    __slots__ = ("jobs",)

    def __init__(self, app: Producer, jobs: Sequence[Job[Any]]) -> None:
        super().__init__(app, jobs[-1].id)
        #: one for each link
        self.jobs = tuple(jobs)

    def current(self) -> int:
        """Return how many links have ended, as far as results are stored."""
        found = self._app.results.fetch_many([job.id for job in self.jobs])
        ended = [number for number, result in enumerate(found, 1) if result is not None and _ran(result)]
        return max(ended, default=0)

    def status(self) -> TaskStatus:
        """Return the status of the current link; see `App.status`."""
        found = super().status()
        if found.state in _ENDED:
            return found
        each = (job.status() for job in self.jobs[:-1])
        return next((one for one in each if one.state not in _ENDED), found)

    def cancel(self) -> bool:
        """Cancel the current link and those after it; return False if the chain has ended.

        See `App.cancel`.
        """
        if super().status().state in _ENDED:
            return False
        return any(self._app.cancel_many([job.id for job in self.jobs]))

    def __len__(self) -> int:
        return len(self.jobs)

    def __repr__(self) -> str:
        return f"<ChainJob {self.id} of {len(self.jobs)} links>"


class GroupJob:
    """A handle on the members of a group."""

    __slots__ = ("_app", "id", "jobs")

    def __init__(self, app: Producer, id: str, jobs: Sequence[Job[Any]]) -> None:
        self._app = app
        #: 32 hexadecimal digits
        self.id = id
        #: one for each member, in their order; of a chain its `ChainJob`
        self.jobs = tuple(jobs)

    def results(self, wait: float = 0.0) -> list[Any]:
        """Return what the members returned, in their order.

        Args:
            wait: most seconds to wait for all of them.

        Raises:
            ResultNotReady: some have no final result within that time, or it is not stored any more.
            TaskFailed: some failed for good; the error names the first.

        """
        found = self.fetch(wait)
        open_ = sum(one is None or not one.state.final for one in found)
        failed = [
            (number, one)
            for number, one in enumerate(found, 1)
            if one is not None and one.state is State.FAILED
        ]
        if failed:
            number, first = failed[0]
            msg = (
                f"{len(failed)} of {len(found)} failed, the first is #{number} ({first.name}): {first.error}"
            )
            raise TaskFailed(msg, first)
        if open_:
            msg = (
                f"{open_} of {len(found)} have no result yet after waiting {counted(wait, 'second')}, or it "
                "is not stored any more: see save_limit, cached and result_ttl; the results that then() and "
                "App.iter collect are kept in any case"
            )
            raise ResultNotReady(msg)
        return [None if one is None else one.value for one in found]

    def fetch(self, wait: float = 0.0) -> list[Result | None]:
        """Return the whole `Result` of each member, in their order; None where there is none."""
        return self._app.results.fetch_many([job.id for job in self.jobs], wait)

    async def aresults(self, wait: float = 0.0) -> list[Any]:
        """Return what the members returned, without blocking the event loop; see `results`."""
        import asyncio  # noqa: PLC0415 - whoever awaits this has imported it

        await self.afetch(wait)
        return await asyncio.to_thread(self.results)

    async def afetch(self, wait: float = 0.0) -> list[Result | None]:
        """Return the whole `Result` of each member, without blocking the event loop; see `fetch`."""
        import asyncio  # noqa: PLC0415 - whoever awaits this has imported it

        return await asyncio.gather(*(job.afetch(wait) for job in self.jobs))

    def cancel(self) -> int:
        """Cancel all members that have not ended; return how many. See `App.cancel`."""
        done = dict(zip(ids := self._open_ids(), self._app.cancel_many(ids), strict=True))
        return sum(any(done.get(one.id) for one in _jobs(job)) for job in self.jobs)

    def _open_ids(self) -> list[str]:
        """Return the ids of the tasks of members that have not ended."""
        ended = [one is not None and one.state.final for one in self.fetch()]
        left = [job for job, done in zip(self.jobs, ended, strict=True) if not done]
        return [one.id for job in left for one in _jobs(job)]

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job[Any]]:
        return iter(self.jobs)

    def __repr__(self) -> str:
        return f"<GroupJob {self.id} of {counted(len(self.jobs), 'member')}>"


class CallbackJob(Job[Any]):
    """A handle on the callback of a group: its result is the result of the whole."""

    __slots__ = ("members",)

    def __init__(self, app: Producer, id: str, members: GroupJob) -> None:
        super().__init__(app, id)
        #: the group it waits for
        self.members = members

    def cancel(self) -> bool:
        """Cancel the members and the callback; return False if the callback has ended already."""
        if self.status().state in _ENDED:
            return False
        done = any(self._app.cancel_many([*self.members._open_ids(), self.id]))  # noqa: SLF001 - its own members
        # If all members were waiting, the callback is cancelled by now. If they have ended, it is about to
        # be enqueued, and then ended because of its flag.
        return super().cancel() or done or any(one is not None for one in self.members.fetch())

    def __repr__(self) -> str:
        return f"<CallbackJob {self.id} behind {counted(len(self.members), 'member')}>"


def _jobs(job: Job[Any]) -> Sequence[Job[Any]]:
    return job.jobs if isinstance(job, ChainJob) else (job,)


def _ran(result: Result) -> bool:
    """Return whether this result is of a run, and not of an earlier link that stopped the chain."""
    if not result.state.final:
        return False
    return bool(result.attempts) or result.kind not in _UNRUN

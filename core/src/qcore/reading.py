"""The part of an App that reads results and counts what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.errors import ResultNotReady, TaskFailed
from qcore.model import State

if TYPE_CHECKING:
    from qcore.model import QueueSize, Result
    from qcore.runtime import Runtime


class Reading:
    """What an App says of results and of its queue."""

    if TYPE_CHECKING:

        @property
        def runtime(self) -> Runtime:
            """The assembled configuration."""

    def result(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what a task returned.

        Args:
            task_id: 32 hexadecimal digits.
            wait: most seconds to wait for it.

        Raises:
            ResultNotReady: there is no final result within that time.
            TaskFailed: the task failed for good.

        """
        result = self.fetch(task_id, wait)
        if result is None:
            msg = f"task {task_id} has no result yet after waiting {wait:g} seconds"
            raise ResultNotReady(msg)
        if result.state is State.RETRYING:
            msg = f"task {task_id} failed in attempt {result.attempts} and will run again: {result.error}"
            raise ResultNotReady(msg)
        if result.state is State.FAILED:
            msg = f"task {task_id} ({result.name}) failed: {result.error}"
            raise TaskFailed(msg, result)
        return result.value

    def fetch(self, task_id: str, wait: float = 0.0) -> Result | None:
        """Return the whole `Result` of a task, or None if there is none.

        A task that failed and will run again has one too, with the state RETRYING.

        Args:
            task_id: 32 hexadecimal digits.
            wait: most seconds to wait for a final one.

        Raises:
            BadSignature: what is stored was not written by this project.

        """
        try:
            key = bytes.fromhex(task_id)
        except ValueError as exc:
            msg = f"no task id: {task_id!r}; 32 hexadecimal digits are needed"
            raise ResultNotReady(msg) from exc
        with self.runtime.stores.lend() as store:
            stored = store.wait(key, wait) if wait > 0 else store.get([key])[0]
        return None if stored is None else self.runtime.results.read(stored)

    def queue_size(self) -> int:
        """Return how many tasks are ready to be worked on."""
        return self.sizes().ready

    def sizes(self) -> QueueSize:
        """Return how many messages are ready, leased, delayed and buried."""
        with self.runtime.brokers.lend() as broker:
            return broker.size()

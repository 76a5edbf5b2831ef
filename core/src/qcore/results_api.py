"""`App.results`: results by task and by result group."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.absence import explain
from qcore.begun import read_result
from qcore.errors import ResultGone, ResultNotReady, TaskFailed
from qcore.journal.waiting import ONLY_WORKER_OF, SelfWait
from qcore.lazy import cached
from qcore.model import State
from qcore.tasks.task import id_of
from qcore_names.resolve import imported
from qcore_values.annotations import restored
from qcore_values.validators import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.async_api.result_waiter import ResultWaiter
    from qcore.model import Result, StoredResult
    from qcore.tasks.task import Producer


#: Results read at once.
_BULK: Final = 1000
#: Seconds that a call which waits keeps its connection: the next turn may be another thread's.
_HELD: Final = 2.0
#: what no annotation makes anything else of
_NOTHING: Final = (type(None), bool)
#: Seconds between two queries for a group that is waited for: from, to, doubling.
_PAUSES: Final = (0.01, 0.25)


class TaskResults:
    """The results of one queue's tasks: `get` returns values, `fetch` whole `Result`s."""

    def __init__(self, app: Producer) -> None:
        self._app = app
        self._self_wait = SelfWait()

    # -- by task --------------------------------------------------------------------------------

    def get(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what a task returned.

        Args:
            task_id: 32 hexadecimal digits.
            wait: most seconds to wait for it.

        Raises:
            ResultGone: neither a message nor a result of the task is there; a kind of `ResultNotReady`.
            ResultNotReady: there is no final result within that time; the message says why.
            TaskFailed: the task failed for good.
            ValueError: this is not a task id.

        """
        result = self.fetch(task_id, wait)
        if result is None:
            why = explain(self._app.runtime, task_id)
            raise (ResultGone if why.gone else ResultNotReady)(f"task {task_id} {why.text}")
        if result.begun:
            msg = f"task {task_id} ({result.name}) has no result: {result.error}"
            raise ResultNotReady(msg)
        if not result.state.final:
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
            BadSignature: what is stored was not signed with a key of this queue.
            ValueError: this is not a task id.

        """
        key, end = id_of(task_id), end_of(wait)
        while True:
            with self._app.runtime.stores.connection() as store:
                left = end - time.monotonic()
                if left > 0 and ONLY_WORKER_OF.get() and not _final(store.get([key])[0]):
                    self._self_wait.check(self._app.runtime.config.name, task_id)
                stored = store.wait(key, min(left, _HELD)) if left > 0 else store.get([key])[0]
            if left <= _HELD or _final(stored):
                return None if stored is None else self._read(stored)

    def fetch_many(self, task_ids: Sequence[str], wait: float = 0.0) -> list[Result | None]:
        """Return the whole `Result` of each task, in their order, None where there is none; see `fetch`.

        Args:
            task_ids: 32 hexadecimal digits each.
            wait: most seconds to wait until all of them have a final one.

        """
        keys = [id_of(one) for one in task_ids]
        found: dict[bytes, StoredResult] = {}
        end = end_of(wait)
        while True:
            with self._app.runtime.stores.connection() as store:
                missing = [key for key in keys if key not in found or not found[key].state.final]
                for start in range(0, len(missing), _BULK):
                    some = store.get(missing[start : start + _BULK])
                    found.update((one.id, one) for one in some if one is not None)
                # The last of them is most often the last to end.
                last = next((key for key in reversed(missing) if not _final(found.get(key))), None)
                left = end - time.monotonic()
                if last is None or left <= 0:
                    break
                self._self_wait.check(self._app.runtime.config.name, last.hex())
                store.wait(last, min(left, _HELD))
        return [None if (one := found.get(key)) is None else self._read(one) for key in keys]

    @cached
    def _waiter(self) -> ResultWaiter:
        from qcore.async_api.result_waiter import ResultWaiter  # noqa: PLC0415 - for programs with asyncio only

        return ResultWaiter(lambda: self._app.runtime)

    async def aget(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what a task returned, without blocking the event loop; see `get`."""
        return await self._await(self.get, task_id, wait)

    async def afetch(self, task_id: str, wait: float = 0.0) -> Result | None:
        """Return the whole `Result` of a task, without blocking the event loop; see `fetch`."""
        found: Result | None = await self._await(self.fetch, task_id, wait)
        return found

    async def _await(self, read: Callable[..., Any], task_id: str, wait: float) -> Any:  # noqa: ANN401 - as above
        import asyncio  # noqa: PLC0415 - whoever awaits this has imported it

        if ONLY_WORKER_OF.get():
            # A task of this queue's only worker: what it waits for may never run.
            return await asyncio.to_thread(read, task_id, wait)
        return await self._waiter.wait(task_id, wait, partial(read, task_id))

    def delete(self, task_id: str) -> bool:
        """Delete a task's result; return whether there was one."""
        with self._app.runtime.stores.connection() as store:
            return bool(store.delete([id_of(task_id)]))

    def _read(self, stored: StoredResult) -> Result:
        """Verify and decode a result, and rebuild what its task returned if this process has imported it."""
        result = read_result(self._app.runtime, stored)
        if type(result.value) in _NOTHING:
            return result
        function = imported(result.name)
        if function is None:
            return result
        value = restored(function, result.value)
        return result if value is result.value else attrs.evolve(result, value=value)

    # -- by result group: the option `group` ----------------------------------------------------

    def get_group(
        self, group: str, *, failures: bool = False, wait: float = 0.0, count: int | None = None
    ) -> list[Any]:
        """Return what the tasks of a result group returned, in the order they finished.

        Args:
            group: the name that the tasks were given by the option `group`.
            failures: include the errors of those that failed.
            wait: most seconds to wait for `count` of them, or for any.
            count: how many to wait for.

        """
        found = self.fetch_group(group, failures=failures, wait=wait, count=count)
        return [one.value if one.success else one.error for one in found]

    def fetch_group(
        self, group: str, *, failures: bool = True, wait: float = 0.0, count: int | None = None
    ) -> list[Result]:
        """Return the final `Result`s of a result group, in the order they finished; see `get_group`."""
        end = end_of(wait)
        pause = _PAUSES[0]
        while True:
            with self._app.runtime.stores.connection() as store:
                found = [one for one in store.group(group) if _wanted(one, failures=failures)]
            left = end - time.monotonic()
            if len(found) >= (1 if count is None else count) or left <= 0:
                return [self._read(one) for one in found]
            time.sleep(min(pause, left))
            pause = min(pause * 2, _PAUSES[1])

    def count_group(self, group: str, *, failures: bool = False) -> int:
        """Return how many tasks of a result group have ended, or with `failures` how many failed."""
        with self._app.runtime.stores.connection() as store:
            found = [one.state for one in store.group(group) if one.state.final]
        return found.count(State.FAILED) if failures else len(found)

    def delete_group(self, group: str, *, tasks: bool = False) -> int:
        """Dissolve a result group, or with `tasks` delete its results; return how many there were."""
        with self._app.runtime.stores.connection() as store:
            if not tasks:
                return store.ungroup(group)
            return store.delete([one.id for one in store.group(group)])


def _final(stored: StoredResult | None) -> bool:
    return stored is not None and stored.state.final


def _wanted(stored: StoredResult, *, failures: bool) -> bool:
    return stored.state is State.SUCCESS or (failures and stored.state is State.FAILED)

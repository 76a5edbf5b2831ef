"""Decides how many coroutines wait for results with one thread."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.async_api.loops import Serving, Waiting, answer
from qcore.tasks.task import id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.runtime import Runtime

#: seconds between two looks into the store, from the newest call on: from, to, and what each is multiplied by
_PAUSES: Final = (0.002, 0.05, 1.5)
#: results read at once
_BULK: Final = 1000


class ResultCall(Waiting[Any]):
    """A call that waits for a result."""

    __slots__ = ("end", "key", "read")

    def __init__(self, task_id: str, wait: float, read: Callable[[], Any]) -> None:
        super().__init__()
        self.key = id_of(task_id)
        #: monotonic seconds
        self.end = time.monotonic() + wait
        #: reads the result, once it is final or the time is over
        self.read = read


class ResultWaiter:
    """Looks for the results of all calls that wait, in a thread of its own."""

    def __init__(self, runtime: Callable[[], Runtime]) -> None:
        self._runtime = runtime
        self._thread = Serving("qcore-results", self._serve)

    async def wait(self, task_id: str, wait: float, read: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `read` returns
        """Return what `read` returns, once a task has a final result or `wait` seconds have passed.

        Raises:
            ValueError: this is not a task id.

        """
        call = ResultCall(task_id, wait, read)
        self._thread.give(call)
        return await call.future

    def _serve(self, given: queue.SimpleQueue[ResultCall]) -> None:
        calls: list[ResultCall] = []
        pause, longest, factor = _PAUSES
        while True:
            new = list(_given(given, pause if calls else None))
            pause = _PAUSES[0] if new else min(pause * factor, longest)
            calls += new
            calls = [call for call in calls if not call.future.cancelled()]
            try:
                ended = self._ended(calls)
            except BaseException as exc:  # noqa: BLE001 - it is the callers' to handle
                ended = set(calls)
                for call in calls:
                    call.fail(exc)
            else:
                for call in ended:
                    call.run(call.read)
            answer(ended)
            calls = [call for call in calls if call not in ended]

    def _ended(self, calls: Sequence[ResultCall]) -> set[ResultCall]:
        """Return the calls whose tasks have a final result, or whose time is over."""
        now = time.monotonic()
        ended = {call for call in calls if call.end <= now}
        keys = list({call.key for call in calls if call not in ended})
        final: set[bytes] = set()
        with self._runtime().stores.connection() as store:
            for start in range(0, len(keys), _BULK):
                found = store.get(keys[start : start + _BULK])
                final.update(one.id for one in found if one is not None and one.state.final)
        return ended | {call for call in calls if call.key in final}


def _given(given: queue.SimpleQueue[ResultCall], timeout: float | None) -> Iterator[ResultCall]:
    """Yield the calls that were made since, after `timeout` seconds or as soon as there is one."""
    try:
        yield given.get(timeout=timeout)
        while True:
            yield given.get_nowait()
    except queue.Empty:
        return

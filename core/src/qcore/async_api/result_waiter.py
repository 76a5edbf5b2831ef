"""Decides how many coroutines wait for results with one thread."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.tasks.task import id_of
from qcore_loop.answers import Serving, Waiting, answer
from qcore_values.validators import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from qcore.runtime import Runtime

#: seconds between two looks into the store, from the newest call on: from, to, and what each is multiplied by
_PAUSES: Final = (0.002, 0.05, 1.5)
#: seconds between two looks where whoever waits is notified, which a lost connection may prevent
_LOOK: Final = 1.0
#: results read at once
_BULK: Final = 1000


class ResultCall(Waiting[Any]):
    """A call that waits for a result."""

    __slots__ = ("end", "key", "read", "unwatch")

    def __init__(self, task_id: str, wait: float, read: Callable[[], Any]) -> None:
        super().__init__()
        self.key = id_of(task_id)
        #: monotonic seconds
        self.end = end_of(wait)
        #: reads the result, once it is final or the time is over
        self.read = read
        #: ends what notifies of its result; None = it has to be looked for
        self.unwatch: Callable[[bytes], None] | None = None


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

    def _serve(self, given: queue.SimpleQueue[ResultCall | bytes]) -> None:
        calls: list[ResultCall] = []
        pause, longest, factor = _PAUSES
        look_at = 0.0
        while True:
            some = list(_given(given, self._patience(calls, pause, look_at)))
            new = [one for one in some if isinstance(one, ResultCall)]
            woken = {one for one in some if isinstance(one, bytes)} | {call.key for call in new}
            if look_at <= time.monotonic():
                look_at = time.monotonic() + _LOOK
                woken |= {call.key for call in calls}
            pause = _PAUSES[0] if new else min(pause * factor, longest)
            calls += new
            gone = {call for call in calls if call.future.cancelled()}
            try:
                self._watch([call for call in new if call not in gone], given.put)
                ended = self._ended([call for call in calls if call not in gone], woken)
            except BaseException as exc:  # noqa: BLE001 - it is the callers' to handle
                ended = set(calls)
                for call in calls:
                    call.fail(exc)
            else:
                for call in ended:
                    call.run(call.read)
            answer(ended)
            for call in gone | ended:
                if call.unwatch is not None:
                    call.unwatch(call.key)
            calls = [call for call in calls if call not in ended and call not in gone]

    @staticmethod
    def _patience(calls: Sequence[ResultCall], pause: float, look_at: float) -> float | None:
        """Return the seconds until the next look, at `look_at` for all; None if nobody waits."""
        if not calls:
            return None
        if any(call.unwatch is None for call in calls):
            return pause
        return max(0.0, min(look_at, *(call.end for call in calls)) - time.monotonic())

    def _watch(self, new: Sequence[ResultCall], wake: Callable[[bytes], None]) -> None:
        """Be notified of results, where the store can do that."""
        if not new:
            return
        seconds = max(0.0, max(call.end for call in new) - time.monotonic())
        with self._runtime().stores.connection() as store:
            unwatch = store.watch([call.key for call in new], seconds, wake)
        for call in new:
            call.unwatch = unwatch

    def _ended(self, calls: Sequence[ResultCall], woken: Collection[bytes]) -> set[ResultCall]:
        """Return the calls whose tasks have a final result, or whose time is over.

        Args:
            calls: all that wait.
            woken: the ids of which there is something new; what notifies nobody is looked for anyway.

        """
        now = time.monotonic()
        ended = {call for call in calls if call.end <= now}
        due = (call for call in calls if call.key in woken or call.unwatch is None)
        keys = list({call.key for call in due if call not in ended})
        final: set[bytes] = set()
        if not keys:
            return ended
        with self._runtime().stores.connection() as store:
            for start in range(0, len(keys), _BULK):
                found = store.get(keys[start : start + _BULK])
                final.update(one.id for one in found if one is not None and one.state.final)
        return ended | {call for call in calls if call.key in final}


def _given(
    given: queue.SimpleQueue[ResultCall | bytes], timeout: float | None
) -> Iterator[ResultCall | bytes]:
    """Yield calls and ids that came since, after `timeout` seconds or as soon as there is one."""
    try:
        yield given.get(timeout=timeout)
        while True:
            yield given.get_nowait()
    except queue.Empty:
        return

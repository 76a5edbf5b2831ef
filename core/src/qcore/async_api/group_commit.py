"""Decides how messages of many coroutines leave in one round trip."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from qcore.errors import BackendError, BackendRejected, PartlyEnqueued
from qcore.tasks.producer import seal_calls
from qcore.tasks.task import Job, Producer
from qcore_loop.answers import Serving, Waiting, answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.tasks.call import Call, Sealed

#: messages that go out together at most, so that other processes wait a few milliseconds for the broker
_MOST: Final = 1000


class Sends(Producer, Protocol):
    """What is needed of an `App`."""

    @property
    def group_commit(self) -> GroupCommit:
        """What enqueues for coroutines."""

    @property
    def delivers_to_broker(self) -> bool:
        """Whether messages go to the broker, and not to a test."""

    def for_cluster(self, name: str) -> Sends:
        """Return the one of another queue."""

    def send_sealed(self, sealed: Sequence[Sealed]) -> list[Job[Any]]:
        """Deliver sealed messages."""

    async def asend(self, calls: Sequence[Call]) -> list[Job[Any]]:
        """Enqueue calls."""


class Sending(Waiting[list[Job[Any]]]):
    """Calls that a coroutine has enqueued, and the jobs it waits for."""

    __slots__ = ("app", "calls", "sealed")

    def __init__(self, app: Sends, calls: Sequence[Call]) -> None:
        super().__init__()
        self.app = app
        self.calls = calls
        self.sealed: Sequence[Sealed] = ()


class GroupCommit:
    """Enqueues, in a thread of its own, what coroutines give to it while the broker is busy with the last."""

    def __init__(self) -> None:
        self._thread = Serving("qcore-enqueue", _serve)

    async def send(self, app: Sends, calls: Sequence[Call]) -> list[Job[Any]]:
        """Enqueue calls; all are accepted, or none, and each caller has its own error."""
        one = Sending(app, calls)
        self._thread.give(one)
        return await one.future


def _serve(given: queue.SimpleQueue[Sending]) -> None:
    while True:
        batch = list(_next_batch(given))
        for app, some in _by_queue(batch):
            _send(app, some)
        answer(one for one in batch if one.value is not None or one.error is not None)


def _next_batch(given: queue.SimpleQueue[Sending]) -> Iterator[Sending]:
    """Yield what waits, once there is something."""
    one, count = given.get(), 0
    while True:
        # A coroutine that was cancelled meanwhile has enqueued nothing.
        if not one.future.cancelled():
            yield one
        count += len(one.calls)
        if count >= _MOST:
            return
        try:
            one = given.get_nowait()
        except queue.Empty:
            return


def _by_queue(batch: Sequence[Sending]) -> Iterator[tuple[Sends, list[Sending]]]:
    """Seal calls and yield them by the queue they are for."""
    found: dict[int, tuple[Sends, list[Sending]]] = {}
    for one in batch:
        try:
            names = {call.options.cluster or "" for call in one.calls}
            if len(names) > 1:
                _apart(one)
                continue
            app = one.app.for_cluster(names.pop())
            found.setdefault(id(app), (app, []))[1].append(one)
        except BaseException as exc:  # noqa: BLE001 - it is the caller's to handle
            one.fail(exc)
    for app, some in found.values():
        _seal(app, some)
        together = []
        for one in some:
            if one.error is not None:
                continue
            if not app.delivers_to_broker or any(sealed.sync for sealed in one.sealed):
                _apart(one, app)
            else:
                together.append(one)
        if together:
            yield app, together


def _seal(app: Sends, some: Sequence[Sending]) -> None:
    """Seal the calls of each caller; hooks read the caller's context."""
    if _sealed_together(app, some):
        return
    for one in some:
        try:
            one.sealed = one.context.run(seal_calls, app.runtime, one.calls)
        except BaseException as exc:  # noqa: BLE001 - it is the caller's to handle
            one.fail(exc)


def _sealed_together(app: Sends, some: Sequence[Sending]) -> bool:
    """Seal all calls at once, in half the time; return whether there are no hooks and none failed."""
    try:
        if app.runtime.pre_enqueue:
            return False
        sealed = iter(seal_calls(app.runtime, [call for one in some for call in one.calls]))
    except BaseException:  # noqa: BLE001 - whose error it is shows when each is sealed by itself
        return False
    for one in some:
        one.sealed = [next(sealed) for _ in one.calls]
    return True


def _apart(one: Sending, app: Sends | None = None) -> None:
    """Send calls in a thread of their own: tasks that run in this process may enqueue and wait themselves."""

    def send() -> None:
        if app is None:
            one.run(one.app.send, one.calls)
        else:
            one.run(app.send_sealed, one.sealed)
        answer([one])

    threading.Thread(target=send, name="qcore-enqueue-apart", daemon=True).start()


def _send(app: Sends, some: Sequence[Sending]) -> None:
    """Enqueue messages of several callers in one call of the broker."""
    together = [message for one in some for message in one.sealed]
    try:
        jobs = iter(app.send_sealed(together))
    except BackendError as exc:
        _share_error(some, exc)
    except BaseException as exc:  # noqa: BLE001 - it is the callers' to handle
        for one in some:
            one.fail(exc)
    else:
        for one in some:
            one.value = [next(jobs) for _ in one.sealed]


def _share_error(some: Sequence[Sending], error: BackendError) -> None:
    """Give each caller the outcome of its own messages."""
    if not isinstance(error, PartlyEnqueued):
        if isinstance(error, BackendRejected) and len(some) > 1:
            # One of them may be too large. None was accepted, so each is sent again by itself.
            for one in some:
                one.run(one.app.send, one.calls)
        else:
            for one in some:
                one.fail(error)
        return
    jobs = iter(error.jobs)
    for one in some:
        own = [next(jobs) for _ in one.sealed]
        if all(own):
            one.value = own
        elif any(own):
            one.fail(PartlyEnqueued(str(error), own))
        else:
            one.fail(error.__cause__ or error)

"""Where a site's messages go: the broker, a commit, or this process."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

from qcore.delivery import BrokerDelivery, Delivery, GivenBroker
from qcore.inline import run_inline
from qcore_django.plugin import CACHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore import App, Job
    from qcore.hookspecs import EnqueueEvent
    from qcore.interfaces import Broker
    from qcore.runtime import Runtime
    from qcore.status import TaskStatus
    from qcore.tasks.call import Call, Sealed
    from qcore.tasks.task import ReadsResults

#: alias of the database whose commit is waited for; empty = none
_AT_COMMIT: Final[ContextVar[str]] = ContextVar("qcore_django.at_commit", default="")
#: seconds for which the cache keeps the results of what is enqueued, 0 = for ever, and the name of the tasks
#: for which it is so, empty = for each; None = the store keeps them
_IN_CACHE: Final[ContextVar[tuple[float, str] | None]] = ContextVar("qcore_django.in_cache", default=None)


@contextmanager
def at_commit(database: str) -> Iterator[None]:
    """Have what is enqueued in this block wait for the commit of a database; empty = of none."""
    token = _AT_COMMIT.set(database)
    try:
        yield
    finally:
        _AT_COMMIT.reset(token)


@contextmanager
def in_cache(seconds: float | None, only: str = "") -> Iterator[None]:
    """Have the cache keep the results of what is sealed in this block, None = the store."""
    token = _IN_CACHE.set(None if seconds is None else (seconds, only))
    try:
        yield
    finally:
        _IN_CACHE.reset(token)


def mark(event: EnqueueEvent) -> None:
    """Say in a message that the cache keeps its result."""
    asked = _IN_CACHE.get()
    if asked is not None and asked[1] in {"", event.task.name}:
        event.headers[CACHED] = f"{asked[0]:g}"


class AtCommit(Delivery):
    """Has messages delivered when a transaction is committed, if that is asked for."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Deliver messages now, or have them delivered at the commit."""
        database = _AT_COMMIT.get()
        if not database:
            # What a task enqueues that runs here is another matter.
            with in_cache(None):
                self._delivery.deliver(runtime, sealed)
            return
        keyed = next((one.call.name for one in sealed if one.unique), None)
        if keyed is not None:
            msg = f"on_commit= of {keyed}: it excludes unique=, whose key no rollback would release"
            raise ValueError(msg)
        transaction.on_commit(lambda: self._delivery.deliver(runtime, sealed), using=database)

    def deliver_flow(self, runtime: Runtime, sealed: Sequence[Sealed], *, delays: bool) -> None:
        """Do the same for the first messages of a flow."""
        database = _AT_COMMIT.get()
        if database:
            flow = partial(self._delivery.deliver_flow, runtime, sealed, delays=delays)
            transaction.on_commit(flow, using=database)
        else:
            with in_cache(None):
                self._delivery.deliver_flow(runtime, sealed, delays=delays)


class SiteDelivery(BrokerDelivery):
    """Enqueues messages; what has the option `sync` runs here, and what it raises reaches the caller."""

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Deliver messages."""
        queued = [one for one in sealed if not one.sync]
        if queued:
            super().deliver(runtime, queued)
        if len(queued) < len(sealed):
            run_inline(runtime, [one for one in sealed if one.sync], raises=True)


class HereDelivery(Delivery):
    """Runs messages in this process; what they raise reaches the caller."""

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Run messages and everything that follows from them."""
        run_inline(runtime, sealed, raises=True)


class Through:
    """An App whose messages go to a broker that the caller has connected."""

    def __init__(self, app: App, broker: Broker) -> None:
        self._app = app
        self._broker = broker

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""
        return self._app.runtime

    @property
    def results(self) -> ReadsResults:
        """The results of its tasks."""
        return self._app.results

    def for_cluster(self, name: str) -> Through:
        """Return the producer of another queue, with the same broker."""
        return Through(self._app.for_cluster(name), self._broker)

    def send(self, calls: Sequence[Call], /) -> list[Job[Any]]:
        """Enqueue calls."""
        return self._app.send(calls, self._broker)

    async def asend(self, calls: Sequence[Call], /) -> list[Job[Any]]:
        """Enqueue calls."""
        return await asyncio.to_thread(self.send, calls)

    def send_flow(self, sealed: Sequence[Sealed], *, delays: bool) -> None:
        """Enqueue the first messages of a flow, as many at once as the broker takes."""
        del delays
        most = self._broker.capabilities.max_batch
        for start in range(0, len(sealed), most):
            GivenBroker(self._broker).deliver(self.runtime, sealed[start : start + most])

    def cancel(self, task_id: str) -> bool:
        """Cancel a task."""
        return self._app.cancel(task_id)

    def cancel_many(self, task_ids: Sequence[str]) -> list[bool]:
        """Cancel tasks."""
        return self._app.cancel_many(task_ids)

    def status(self, task_id: str) -> TaskStatus:
        """Return the state of a task."""
        return self._app.status(task_id)

"""Where sealed messages go: to a broker, or through this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendError, NotSupported, PartlyEnqueued
from qcore.key_check import warn_of_another_key
from qcore.tasks.call import ONE_CONNECTION
from qcore.tasks.task import Job
from qcore.tasks.unique import release_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.runtime import Runtime
    from qcore.tasks.call import Call, Sealed
    from qcore.tasks.task import Producer
    from qcore_process.connection_pool import ConnectionPool


class Delivery(ABC):
    """What an `App` does with the messages it has sealed."""

    @abstractmethod
    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Deliver messages, at least one, to the queue of `runtime`."""

    def deliver_flow(
        self,
        runtime: Runtime,
        sealed: Sequence[Sealed],
        *,
        delays: bool,  # noqa: ARG002 - only a broker has to be asked
    ) -> None:
        """Deliver the first messages of a chain or of a group of tasks.

        Args:
            runtime: of their queue.
            sealed: the messages, at least one.
            delays: a message that is enqueued later has a delay.

        """
        self.deliver(runtime, sealed)


class BrokerDelivery(Delivery):
    """Enqueues messages; runs those with the option `sync` in this process."""

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Enqueue messages in one call of the broker."""
        queued = [one for one in sealed if not one.sync]
        if queued:
            brokers = _pool(runtime, queued)
            broker = brokers.take(create=True)
            try:
                _enqueue(broker, queued)
                if not runtime.key_is_checked:
                    runtime.key_is_checked = True
                    warn_of_another_key(runtime, broker)
            finally:
                brokers.give(broker)
        if len(queued) < len(sealed):
            from qcore.inline import run_inline  # noqa: PLC0415 - few producers run what they enqueue

            run_inline(runtime, [one for one in sealed if one.sync])

    def deliver_flow(self, runtime: Runtime, sealed: Sequence[Sealed], *, delays: bool) -> None:
        """Enqueue messages, as many at once as the broker takes.

        Raises:
            NotSupported: the broker cannot do what the flow needs.

        """
        if sealed[0].sync:
            # All at once, because the barrier of an inline run is in memory.
            self.deliver(runtime, sealed)
            return
        # What follows later is enqueued by workers, without an outbox.
        with (runtime.brokers if delays else _pool(runtime, sealed)).connection(create=True) as broker:
            capabilities = broker.capabilities
        if delays and not capabilities.delay:
            msg = f"{type(broker).__name__} cannot delay a message; leave delay= out of the chain or group"
            raise NotSupported(msg)
        for start in range(0, len(sealed), capabilities.max_batch):
            self.deliver(runtime, sealed[start : start + capabilities.max_batch])


class GivenBroker(Delivery):
    """Enqueues messages on a broker that the caller has connected."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:  # noqa: ARG002 - the broker knows its queue
        """Enqueue messages, those with the option `sync` included."""
        _enqueue(self._broker, sealed)


def _pool(runtime: Runtime, sealed: Sequence[Sealed]) -> ConnectionPool[Broker]:
    """Return where messages are enqueued: those of a caller's transaction in the outbox, if there is one."""
    joins = runtime.config.outbox is not None and any(one.connection is not None for one in sealed)
    return runtime.outboxes if joins else runtime.brokers


def _enqueue(broker: Broker, sealed: Sequence[Sealed]) -> None:
    """Enqueue messages, as part of a transaction of the caller's if their option `connection` asks for it."""
    connection = sealed[0].connection
    for one in sealed:
        if one.connection is not connection:
            raise NotSupported(ONE_CONNECTION)
    messages = [one.message for one in sealed]
    if connection is None:
        broker.enqueue(messages)
        return
    if not broker.capabilities.joins_transactions:
        msg = (
            f"connection= needs a broker in the database of that transaction, and {type(broker).__name__} is "
            "not in one; set outbox, or leave it out and enqueue when the transaction is committed"
        )
        raise NotSupported(msg)
    broker.enqueue_on(connection, messages)


class InlineDelivery(Delivery):
    """Runs messages in this process, at once."""

    def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
        """Run messages and everything that follows from them."""
        from qcore.inline import run_inline  # noqa: PLC0415 - few producers run what they enqueue

        run_inline(runtime, sealed)


class DeliverySwitch:
    """Which delivery is used: the broker's, unless a test has installed another."""

    def __init__(self) -> None:
        self.delivery: Delivery = BrokerDelivery()

    @contextmanager
    def to(self, delivery: Delivery) -> Iterator[None]:
        """Use another delivery for a block."""
        before, self.delivery = self.delivery, delivery
        try:
            yield
        finally:
            self.delivery = before


def deliver(delivery: Delivery, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
    """Deliver messages; release the `unique` keys of those that were not accepted."""
    try:
        delivery.deliver(runtime, sealed)
    except Exception as exc:
        accepted = frozenset(exc.accepted if isinstance(exc, BackendError) else ())
        release_keys(runtime, [one for one in sealed if one.message.id not in accepted])
        raise
    except BaseException:
        # Interrupted: those to be run here will not run; the others may have been accepted.
        release_keys(runtime, [one for one in sealed if one.sync])
        raise


def send_sealed(app: Producer, delivery: Delivery, sealed: Sequence[Sealed]) -> list[Job[Any]]:
    """Deliver sealed messages of one queue, those that no hook has skipped, and return a job for each.

    Raises:
        PartlyEnqueued: the broker accepted some of them.

    """
    wanted = [one for one in sealed if not one.skipped]
    try:
        if wanted:
            deliver(delivery, app.runtime, wanted)
    except BackendError as exc:
        if not exc.accepted:
            raise
        raise partly_enqueued(exc, app, sealed) from exc
    if len(wanted) == len(sealed):
        return [Job(app, one.message.id.hex()) for one in sealed]
    return [Job(app, one.message.id.hex(), duplicate=one.duplicate) for one in sealed]


def partly_enqueued(error: BackendError, app: Producer, sealed: Sequence[Sealed]) -> PartlyEnqueued:
    """Return the error that has the jobs of the messages which the broker accepted all the same."""
    accepted = frozenset(error.accepted)
    jobs: list[Job[Any] | None] = [
        Job(app, one.message.id.hex(), duplicate=one.duplicate)
        if one.skipped or one.message.id in accepted
        else None
        for one in sealed
    ]
    return PartlyEnqueued(str(error), jobs)


def send_apart(send: Callable[[str, list[Call]], list[Job[Any]]], calls: Sequence[Call]) -> list[Job[Any]]:
    """Send calls of which some are for other clusters, by a function of cluster and calls.

    Raises:
        PartlyEnqueued: some were enqueued, those of an earlier cluster or a part of one cluster's.

    """
    jobs: dict[int, Job[Any]] = {}
    for name in dict.fromkeys(call.options.cluster for call in calls):
        chosen = {number: call for number, call in enumerate(calls) if call.options.cluster == name}
        try:
            sent = send(name or "", list(chosen.values()))
        except BackendError as exc:
            made = exc.jobs if isinstance(exc, PartlyEnqueued) else ()
            jobs |= {number: job for number, job in zip(chosen, made, strict=False) if job is not None}
            if not jobs:
                raise
            raise PartlyEnqueued(str(exc), [jobs.get(number) for number in range(len(calls))]) from exc
        jobs |= zip(chosen, sent, strict=True)
    return [jobs[number] for number in range(len(calls))]

"""Says why a task has no final result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from qcore.control_api import enqueued, status
from qcore.model import State
from qcore.tasks.task import id_of
from qcore_queues.flags import PAUSED, ControlFlags
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from qcore.interfaces import Broker
    from qcore.runtime import Runtime


@attrs.frozen
class Absence:
    """Why there is no result of a task."""

    #: what to write behind `task <id>`
    text: str
    #: neither a message nor a result is there, so waiting on is in vain
    gone: bool = False


def explain(runtime: Runtime, task_id: str) -> Absence:
    """Return why a task without a stored result has none, as far as broker and store can know."""
    found = status(runtime, task_id)
    if found.state == "running":
        worker = f" on {found.worker}" if found.worker else ""
        return Absence(
            "has no result yet: it has been running for "
            f"{counted(round(time.time() - found.since), 'second')}{worker}"
        )
    if found.state == "unknown":
        return Absence(f"has no result: {_lost(runtime, id_of(task_id))}", gone=True)
    if found.state != "queued":
        return Absence("has no result yet: it ends just now")
    with runtime.brokers.connection() as broker:
        return Absence(f"has no result yet: it waits in {_queue(runtime, broker)}{_nobody(runtime, broker)}")


def _queue(runtime: Runtime, broker: Broker) -> str:
    size = broker.size()
    numbers = {"ready": size.ready, "leased": size.leased, "delayed": size.delayed}
    said = ", ".join(f"{number} {state}" for state, number in numbers.items() if number is not None)
    return f"the queue {runtime.config.name!r} ({said})"


def _nobody(runtime: Runtime, broker: Broker) -> str:
    """Return why nobody takes it, empty if clusters work on the queue or cannot be seen."""
    with runtime.coordination_stores.connection() as store:
        if ControlFlags(runtime.control_sealer).genuine(store, [PAUSED]):
            return f", which is paused; {typed('resume')} ends that"
    if broker.capabilities.cluster_status and not broker.statuses():
        return f", and no cluster works on it; {typed('run')} starts one"
    return ""


def _lost(runtime: Runtime, id: bytes) -> str:
    """Return why nothing of a task is stored."""
    config, since = runtime.config, enqueued(id)
    if config.save_limit < 0:
        return "save_limit = -1 stores no successes"
    if since and config.result_ttl and since + config.result_ttl < time.time():
        return f"results are stored for {counted(config.result_ttl, 'second')} (result_ttl)"
    with runtime.stores.connection() as store:
        stored = store.counts().get(State.SUCCESS, 0)
    if since and config.save_limit and not config.save_limit_per and stored >= config.save_limit:
        return (
            f"only the newest successes are stored (save_limit = {config.save_limit}), "
            "so it has been pushed out"
        )
    return (
        f"nothing is known of it in the queue {config.name!r}: there never was such a task, or its result "
        "was not to be stored, or was deleted"
    )

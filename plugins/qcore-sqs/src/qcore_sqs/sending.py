"""How messages are sent, and what is said of a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.errors import BackendError
from qcore_sqs import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.queues import Queues


def send(
    queues: Queues, entries: Sequence[dict[str, Any]], accepted: list[int], *, doubt: str, told: str
) -> None:
    """Put messages into the queue, ten in one request.

    Args:
        queues: where to.
        entries: the messages, as `codec.entry` makes them.
        accepted: the positions of those that were accepted are added to it, also if an error is raised.
        doubt: what to say where nobody knows whether they were.
        told: what to call them if an error is raised after some were.

    """
    start = 0
    try:
        for batch in codec.batches(entries):
            failures = queues.link.batch(
                "send_message_batch", queues.main(), batch, again=queues.fifo, doubt=doubt
            )
            accepted += [start + index for index in range(len(batch)) if index not in failures]
            start += len(batch)
            for failure in failures.values():
                raise queues.link.fault(failure)
    except BackendError as exc:
        if accepted:
            exc.args = (f"{exc}; {len(accepted)} of {len(entries)} {told} before that",)
        raise

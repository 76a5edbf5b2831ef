"""Decides how messages are sent and reports which were accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.errors import BackendError
from qcore_sqs import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.queues import Queues


def send(
    queues: Queues,
    entries: Sequence[dict[str, Any]],
    accepted: list[int],
    *,
    if_unknown: str,
    accepted_text: str,
) -> None:
    """Send messages to the queue, ten in one request.

    Args:
        queues: the queue to send to.
        entries: the messages, made by `codec.entry`.
        accepted: gets the positions of accepted messages, even if an error is raised.
        if_unknown: what the error says if it is not known whether messages were accepted.
        accepted_text: what the error says about messages that were accepted before it.

    Raises:
        BackendError: some messages were not accepted.

    """
    start = 0
    try:
        for batch in codec.batches(entries):
            failures = queues.connection.batch(
                "send_message_batch", queues.main(), batch, repeatable=queues.fifo, if_unknown=if_unknown
            )
            accepted += [start + index for index in range(len(batch)) if index not in failures]
            start += len(batch)
            for failure in failures.values():
                raise queues.connection.error_of(failure)
    except BackendError as exc:
        if accepted:
            exc.args = (f"{exc}; {len(accepted)} of {len(entries)} {accepted_text} before that",)
        raise

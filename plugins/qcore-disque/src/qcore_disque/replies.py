"""Decides what a node's reply means, and which is none of Disque's."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from qcore.model import DeadLetter, Delivery
from qcore_disque import error_mapping
from qcore_disque.lease import Lease, job_of
from qcore_disque.node import checked
from qcore_plugin_support import CountedMessage, count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_log = logging.getLogger("qcore_disque.replies")


def taken(job: Any, node: bytes) -> tuple[Lease, CountedMessage] | None:  # noqa: ANN401 - one of what GETJOB says
    """Return lease and content of a job that the node of this prefix hands out; None if it is not a job."""
    match job:
        case [
            bytes(),
            bytes() as id_,
            bytes() as body,
            bytes(),
            int() as nacks,
            bytes(),
            int() as additional,
        ]:
            if job_of(id_) and nacks >= 0 and additional >= 0:
                return Lease(id_, node, nacks, additional), CountedMessage.read(body)
        case _:
            pass
    return None


def delivery(lease: Lease, item: CountedMessage) -> Delivery:
    """Return a job as it is handed on."""
    deliveries = count_of(item.deliveries + 1 + lease.additional)
    return Delivery(item.body, lease.receipt, deliveries, item.failures, item.crashes)


def count(reply: Any, title: str) -> int:  # noqa: ANN401 - what should be a number
    """Return the number in a node's answer."""
    number = checked(reply, title)
    if not isinstance(number, int):
        raise error_mapping.stranger(title, "a count is not a number")
    return number


class WaitingJob(NamedTuple):
    """A job that nobody has leased."""

    id: bytes
    #: its counters are those with which it would be handed out, less one delivery
    item: CountedMessage
    #: seconds until it is ready, 0.0 = it is
    delay: float


def waiting(reply: Any) -> WaitingJob | None:  # noqa: ANN401 - one of what JSCAN says
    """Return a job that is ready or delayed; one that is leased is active as a delayed one is."""
    job = fields(reply)
    rest = 0.0
    match job.get(b"id"), job.get(b"state"), job.get(b"ctime"), job.get(b"delay"):
        case bytes() as id_, b"queued", _, _:
            pass
        case bytes() as id_, b"active", int() as born, int() as delay if delay > 0:
            if (rest := born / 1e9 + delay - time.time()) <= 0:
                return None
        case _:
            return None
    body = job.get(b"body")
    item = CountedMessage.read(body if isinstance(body, bytes) else b"")
    item = item._replace(deliveries=count_of(item.deliveries + count_of(job.get(b"additional-deliveries"))))
    return WaitingJob(id_, item, rest) if job_of(id_) else None


def peeked(reply: Any) -> Iterator[CountedMessage]:  # noqa: ANN401 - what QPEEK says
    """Yield the content of the jobs of a list."""
    for job in reply if isinstance(reply, list) else []:
        match job:
            case [bytes(), bytes(), bytes() as body]:
                yield CountedMessage.read(body)
            case _:
                pass


def listed(reply: Any) -> Iterator[DeadLetter]:  # noqa: ANN401 - what QPEEK says
    """Yield the dead letters of a list; what cannot be one is logged and ignored."""
    for job in reply if isinstance(reply, list) else []:
        match job:
            case [bytes(), bytes() as id_, bytes() as body] if job_of(id_):
                item = CountedMessage.read(body)
                yield DeadLetter(
                    id_.decode(), item.body, item.reason, item.written_at, item.failures, item.crashes
                )
            case _:
                _log.error("an entry that is not a job is ignored among the dead letters: %.200r", job)


def fields(reply: Any) -> Mapping[bytes, Any]:  # noqa: ANN401 - what SHOW says: a list, nothing or an error
    """Return the reply of SHOW; nothing if it is not a flat map."""
    if not isinstance(reply, list) or len(reply) % 2:
        return {}
    return {key: value for key, value in zip(reply[::2], reply[1::2], strict=True) if isinstance(key, bytes)}


def bytes_of(reply: Any) -> bytes:  # noqa: ANN401 - what should be a text
    """Return the text in a node's answer, empty if it has none."""
    return reply if isinstance(reply, bytes) else b""

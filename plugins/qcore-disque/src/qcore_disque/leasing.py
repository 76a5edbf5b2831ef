"""Decides how jobs are waited for."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import BackendError
from qcore_disque import error_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_disque.nodes import Nodes

_log = logging.getLogger("qcore_disque.broker")

#: seconds of one wait in the server, which looks for timeouts ten times a second
LONGEST: Final = 5.0


def jobs_of(nodes: Nodes, queues: Sequence[bytes], limit: int, wait: float) -> Sequence[Any]:
    """Return up to `limit` jobs of the first queue that has any.

    Disque hands out one job of each queue in turn, until there are enough: that would mix what is later
    into a batch. So the first job is asked of all queues, and the others of the queue that it came from.

    Args:
        nodes: of the cluster.
        queues: their names, in the order in which they are asked.
        limit: how many jobs at most.
        wait: seconds for the first of them.

    """
    if limit <= 0:
        return ()
    deadline = time.monotonic() + wait
    while True:
        left = min(LONGEST, deadline - time.monotonic())
        milliseconds = int(left * 1000)
        how: tuple[bytes | int, ...] = (b"TIMEOUT", milliseconds) if milliseconds > 0 else (b"NOHANG",)
        found = _asked(nodes, how, limit if len(queues) == 1 else 1, queues, max(0.0, left))
        if found and len(queues) > 1 and limit > 1:
            return [*found, *_rest(nodes, found[0], limit - 1, queues)]
        if found or time.monotonic() >= deadline:
            return found


def _asked(
    nodes: Nodes, how: tuple[bytes | int, ...], count: int, queues: Sequence[bytes], seconds: float
) -> list[Any]:
    found = nodes.block(b"GETJOB", *how, b"COUNT", count, b"WITHCOUNTERS", b"FROM", *queues, seconds=seconds)
    if not isinstance(found, list | None):
        raise error_mapping.stranger(nodes.connected_to, "GETJOB returned no list")
    return found or []


def _rest(nodes: Nodes, job: Any, count: int, queues: Sequence[bytes]) -> list[Any]:  # noqa: ANN401 - as it came
    """Return more jobs of the queue that a job came from."""
    queue = job[0] if isinstance(job, list) and job else None
    if not isinstance(queue, bytes) or queue not in queues:
        return []
    try:
        return _asked(nodes, (b"NOHANG",), count, [queue], 0.0)
    except BackendError as exc:
        # the one job is leased, and would come back only when its lease ends
        _log.warning("one message is leased, and more could not be: %s", exc)
        return []

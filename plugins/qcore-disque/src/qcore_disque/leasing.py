"""Decides how jobs are waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from qcore_disque import error_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_disque.nodes import Nodes

#: seconds of one wait in the server, which looks for timeouts ten times a second
LONGEST: Final = 5.0


def jobs_of(nodes: Nodes, queues: Sequence[bytes], limit: int, wait: float) -> Sequence[Any]:
    """Return up to `limit` jobs as Disque hands them out, of the first queues in front.

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
        found = nodes.block(
            b"GETJOB", *how, b"COUNT", limit, b"WITHCOUNTERS", b"FROM", *queues, seconds=max(0.0, left)
        )
        if not isinstance(found, list | None):
            raise error_mapping.stranger(nodes.connected_to, "GETJOB returned no list")
        if found or time.monotonic() >= deadline:
            return found or ()

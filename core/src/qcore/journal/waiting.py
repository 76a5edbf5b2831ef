"""Whether a task waits for a result only its worker produces."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from qcore.errors import EnvelopeError
from qcore.journal.progress import PAGE
from qcore.messages.head import read_head
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.journal.progress import ReportsProgress

_log = logging.getLogger("qcore.worker")

#: The queue whose only worker in this cluster this process is; None = it is not the only one.
ONLY_WORKER_OF: Final[ContextVar[str | None]] = ContextVar("qcore.only_worker_of", default=None)


class SelfWait:
    """Warns of each task that waits for another one of its own worker, once."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def check(self, queue: str, task_id: str) -> None:
        """Log that a task of the only worker of a queue waits for another task of it."""
        page = PAGE.get()
        if page is None or ONLY_WORKER_OF.get() != queue:
            return
        name = _running(page)
        if name not in self._warned:
            self._warned.add(name)
            _log.warning(
                "task %s waits for task %s, and its worker is the only one of this cluster: unless another "
                "cluster serves the queue %s, it waits in vain; raise workers, or chain the two tasks",
                line(name),
                task_id,
                line(queue),
            )


def _running(page: ReportsProgress) -> str:
    """Return the name of the running task."""
    held = page.running_message()
    if held is None:
        return "(unknown)"
    try:
        return read_head(held.head).name
    except EnvelopeError:
        return "(unknown)"

"""Decides the names of queues at SQS."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: suffix of a FIFO queue's name
FIFO: Final = ".fifo"
#: suffix of the name of a queue of dead letters
DEAD_LETTERS: Final = "-dead-letters"
#: characters; SQS accepts 80, and both suffixes must fit
_MAX_LENGTH: Final = 80 - len(FIFO) - len(DEAD_LETTERS)


def queue_name(name: str, *, fifo: bool = False) -> str:
    """Return the name at SQS of a queue of qcore; different queues have different names."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain != name or len(plain) > _MAX_LENGTH or name.endswith(DEAD_LETTERS):
        # a name that was changed or shortened gets a hash of the whole name
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        plain = f"{plain[: _MAX_LENGTH - 9]}-{mark}"
    return plain + (FIFO if fifo else "")


def dead_letters_name(queue: str) -> str:
    """Return the name of the queue that holds another queue's dead letters."""
    stem = queue.removesuffix(FIFO)
    return stem + DEAD_LETTERS + queue[len(stem) :]

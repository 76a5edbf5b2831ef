"""How a queue is called at SQS."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: what makes a FIFO queue one
FIFO: Final = ".fifo"
#: what the dead letters' queue has more
DEAD_LETTERS: Final = "-buried"
#: SQS takes 80; both endings must find room
_MOST: Final = 80 - len(FIFO) - len(DEAD_LETTERS)


def queue_name(name: str, *, fifo: bool = False) -> str:
    """Return the name for a queue of qcore's; two that differ have two."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain != name or len(plain) > _MOST or name.endswith(DEAD_LETTERS):
        # what was changed or cut is told apart by a hash of the whole
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        plain = f"{plain[: _MOST - 9]}-{mark}"
    return plain + (FIFO if fifo else "")


def dead_letters_name(queue: str) -> str:
    """Return the name of the queue that has another's dead letters."""
    stem = queue.removesuffix(FIFO)
    return stem + DEAD_LETTERS + queue[len(stem) :]

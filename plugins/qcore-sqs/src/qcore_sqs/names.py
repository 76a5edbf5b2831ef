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
#: characters of the name of a declared queue, without suffixes
_PHYSICAL: Final = 64
#: suffix of the name of its queue of dead letters; no hash ends so
_PHYSICAL_DEAD: Final = "-dead"


def queue_name(name: str, *, fifo: bool = False) -> str:
    """Return the name at SQS of a queue of qcore; different queues have different names."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain != name or len(plain) > _MAX_LENGTH or name.endswith(DEAD_LETTERS):
        # a name that was changed or shortened gets a hash of the whole name
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        plain = f"{plain[: _MAX_LENGTH - 9]}-{mark}"
    return plain + (FIFO if fifo else "")


def physical_name(base: str, queue: str, band: str, *, fifo: bool = False) -> str:
    """Return the name at SQS of the queue for one queue and band of qcore.

    It has 64 characters before a suffix, more than any name that `queue_name` makes, and a hash of all
    that it stands for, with 64 bits or more.

    Args:
        base: the name at SQS of the default queue, or what it is made from.
        queue: of qcore.
        band: `high`, `low` or nothing.
        fifo: whether it is a FIFO queue.

    """
    whole = f"{base}\0{queue}\0{band}"
    shown = (re.sub(r"[^A-Za-z0-9_-]", "_", text) for text in (base[:20], queue[:18], band or "normal"))
    stem = f"{'-'.join(shown)}-"
    return f"{stem}{hashlib.sha256(whole.encode()).hexdigest()}"[:_PHYSICAL] + (FIFO if fifo else "")


def physical_dead_letters_name(physical: str) -> str:
    """Return the name of the queue of its dead letters, which is shorter than `dead_letters_name` of it."""
    stem = physical.removesuffix(FIFO)
    return stem + _PHYSICAL_DEAD + physical[len(stem) :]


def dead_letters_name(queue: str) -> str:
    """Return the name of the queue that holds another queue's dead letters."""
    stem = queue.removesuffix(FIFO)
    return stem + DEAD_LETTERS + queue[len(stem) :]

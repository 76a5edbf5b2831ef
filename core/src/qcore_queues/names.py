"""Names queues and priorities, and checks them."""

from __future__ import annotations

import re
from typing import Final

#: The queue of a task that names none; brokers know it as "".
DEFAULT_QUEUE: Final = "default"
#: What the name of a queue may be, and how a message says it.
QUEUE_NAME: Final = r"[A-Za-z0-9_.-]{1,64}"
QUEUE_RULE: Final = "must be 1 to 64 letters, digits or _ . -"
LOWEST: Final = -100
HIGHEST: Final = 100

_matches: Final = re.compile(QUEUE_NAME).fullmatch


def check_queue(name: str, value: object) -> None:
    """Check that a value is the name of a queue.

    Raises:
        TypeError: it is not a text.
        ValueError: it has other characters, or too many.

    """
    if not isinstance(value, str):
        msg = f"{name} must be a text, got {value!r:.80} of type {type(value).__name__}; pass str() of it"
        raise TypeError(msg)
    if not _matches(value):
        msg = f"{name} {QUEUE_RULE}, got {value!r:.80}"
        raise ValueError(msg)


def check_priority(name: str, value: object) -> None:
    """Check that a value is a whole number from -100 to 100.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is out of range.

    """
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a whole number, got {value!r:.80} of type {type(value).__name__}; pass an int"
        raise TypeError(msg)
    if not LOWEST <= value <= HIGHEST:
        msg = f"{name} must be {LOWEST} to {HIGHEST}, higher ones begin first, got {value!r:.80}"
        raise ValueError(msg)


def known_as(queue: str) -> str:
    """Return the name under which a broker knows a queue."""
    return "" if queue == DEFAULT_QUEUE else queue


def destination(cluster: str, queue: str) -> str:
    """Return where a task is sent, in one word: `shop`, or `shop/mail` for a named queue."""
    return cluster if queue in {"", DEFAULT_QUEUE} else f"{cluster}/{queue}"


def named(queue: str) -> str:
    """Return the name of a queue that a broker knows."""
    return queue or DEFAULT_QUEUE

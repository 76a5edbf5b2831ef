"""Decides the name of the queue of a cluster."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: what a queue may be called: brokers use its name in keys, file names and URLs
_VALID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_.:-]+")
#: characters of a name that can be read in that of its queue
_READABLE: Final = 60
#: digits that keep the queues of different names apart
_DIGITS: Final = 16


def queue_name(name: str) -> str:
    """Return the name of the queue of a cluster: its own, or one with a digest of a name like `My Site`.

    It is the same in each process, and others for other names; no name is left as it is.
    """
    if not name or _VALID.fullmatch(name):
        return name
    readable = _OTHERS.sub("-", name).strip("-")[:_READABLE] or "queue"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}-{digest[:_DIGITS]}"

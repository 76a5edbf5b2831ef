"""Decides what a receipt says of a lease."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: what an id looks like: node, random part, minutes it lives
_ID: Final = re.compile(rb"D-([0-9a-f]{8})-[A-Za-z0-9+/=]{24}-[0-9a-f]{4}")
#: a number is written in one way only
_NUMBER: Final = rb"(0|[1-9][0-9]{0,8})"
_RECEIPT: Final = re.compile(
    rb"(?P<job>"
    + _ID.pattern
    + rb"):(?P<node>[0-9a-f]{8}):(?P<nacks>%b):(?P<additional>%b)" % (_NUMBER, _NUMBER)
)


class Lease(NamedTuple):
    """One lease of a job: Disque counts how often it was released and redelivered."""

    job: bytes
    #: beginning of the id of the node that handed it out, and has a copy for that
    node: bytes = b""
    nacks: int = 0
    additional: int = 0

    @property
    def receipt(self) -> bytes:
        """Return what names it."""
        return b"%s:%s:%d:%d" % self

    @classmethod
    def read(cls, receipt: bytes) -> Lease | None:
        """Return the lease a receipt names, None if it is none of ours."""
        found = _RECEIPT.fullmatch(receipt)
        if found is None:
            return None
        return cls(found["job"], found["node"], int(found["nacks"]), int(found["additional"]))


def job_of(text: bytes) -> bytes:
    """Return a job's id if this is one; else nothing, because the server would refuse all it comes with."""
    return text if _ID.fullmatch(text) else b""

"""What a user may write under the key `spool`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpoolSettings:
    """The key `spool`."""

    #: the folder the queues lie in; made if it is not there
    path: str

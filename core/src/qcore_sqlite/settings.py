"""The configuration key `sqlite`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class SqliteSettings:
    """The configuration key `sqlite`."""

    #: the database file; None = in the user's state directory
    path: Path | None = None
    #: `full` lets accepted messages survive a power failure as well, at an fsync each
    synchronous: Literal["normal", "full"] = attrs.field(
        default="normal", validator=attrs.validators.in_(("normal", "full"))
    )
    #: seconds to wait for a lock that another process holds
    busy_timeout: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))

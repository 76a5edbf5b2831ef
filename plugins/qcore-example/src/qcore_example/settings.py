"""Defines the configuration key `spool`."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpoolSettings:
    """The configuration key `spool`."""

    #: the folder that holds the queues; it is created if it does not exist
    path: Path

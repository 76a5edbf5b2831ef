"""Makes the wait of a worker for what its tasks do longer than any test."""

from __future__ import annotations

import qcore_at_once.side_by_side

qcore_at_once.side_by_side._WAIT = 10_000.0  # type: ignore[misc]  # a constant

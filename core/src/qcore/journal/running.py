"""Which task a worker is in the middle of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore.journal.pages import Page
    from qcore.journal.records import HeldMessage, PageSnapshot


class Running:
    """Reads from a page what runs, once for each task; for one thread."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._place = (0, 0)
        self._held: HeldMessage | None = None

    def look(self, seen: PageSnapshot, longer: float) -> HeldMessage | None:
        """Return the message that has been running for longer than so many seconds, if one has."""
        if seen.running < 0 or time.monotonic_ns() - seen.started < longer * 1e9:
            return None
        place = (seen.seq, seen.begun)
        if self._place != place:
            left = self._page.read(seen)
            if left is None:
                # It has moved on meanwhile.
                return None
            self._place, self._held = place, left[0][seen.running]
        return self._held

"""Which message a worker is running."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore.journal.pages import Page
    from qcore.journal.records import HeldMessage, PageSnapshot


class Running:
    """Reads the running message from a page, once for each task; for use by one thread."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._position = (0, 0)
        self._held: HeldMessage | None = None

    def message(self, seen: PageSnapshot, longer: float) -> HeldMessage | None:
        """Return the message that has been running for longer than so many seconds, or None."""
        if seen.running < 0 or time.monotonic_ns() - seen.started < longer * 1e9:
            return None
        if self._position != seen.position:
            left = self._page.read(seen)
            if left is None:
                # The worker has moved on meanwhile.
                return None
            self._position, self._held = seen.position, left[0][seen.running]
        return self._held

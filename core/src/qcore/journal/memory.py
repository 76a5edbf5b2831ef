"""Makes the shared memory of the journal of a cluster."""

from __future__ import annotations

import mmap
import os
from typing import Final

from qcore.errors import StartFailed
from qcore.journal.pages import PAGE, Page
from qcore_cells.cells import CELLS

#: Bytes of each worker: its page, and behind it the cells, which are used when it runs many tasks at once.
EACH: Final = PAGE + CELLS


class Journal:
    """The memory of all pages, made by the supervisor and mapped by every worker."""

    def __init__(self, fd: int, slots: int) -> None:
        #: of the file behind it; handed to the zygote
        self.fd = fd
        self.slots = slots
        self._memory = mmap.mmap(fd, slots * EACH)

    @classmethod
    def create(cls, slots: int) -> Journal:
        """Create the memory for `slots` workers; it is freed with the last process that maps it.

        Raises:
            StartFailed: the system gives no file of that size.

        """
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("qcore-journal")
        else:
            import tempfile  # noqa: PLC0415 - a dozen modules that Linux does without

            with tempfile.TemporaryFile(prefix="qcore-journal-") as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, slots * EACH)
        except OSError as exc:
            os.close(fd)
            msg = (
                f"cannot create {slots * EACH} bytes of shared memory, {EACH} a worker: {exc.strerror};"
                " raise the limit of file sizes (`ulimit -f`), or set `workers` to a smaller number"
            )
            raise StartFailed(msg) from exc
        return cls(fd, slots)

    def page(self, slot: int) -> Page:
        """Return the page of one worker."""
        return Page(memoryview(self._memory)[slot * EACH : (slot + 1) * EACH])

    def close(self) -> None:
        """Close the file; mapped pages stay until the process ends."""
        os.close(self.fd)

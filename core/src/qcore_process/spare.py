"""A process that is forked ahead and waits for its orders."""

from __future__ import annotations

import os
import time
from typing import Final

#: Seconds that it waits for a worker to be replaced; it takes memory.
_KEPT: Final = 10.0
#: Most bytes of an order.
_ORDER: Final = 4096


class Spare:
    """The zygote's end of the line to a process that waits to become a worker."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.pid = 0
        self._until = time.monotonic() + _KEPT

    # -- in the zygote --------------------------------------------------------------------------

    def forked(self, pid: int) -> None:
        """Take note of its process id."""
        self.pid = pid
        os.close(self._read)

    def become(self, order: bytes) -> bool:
        """Have it become a worker; return False if it has ended."""
        try:
            os.write(self._write, order)
        except BrokenPipeError:
            return False
        finally:
            os.close(self._write)
        return True

    def seconds_left(self) -> float:
        """Return for how long it is kept."""
        return max(0.0, self._until - time.monotonic())

    def dismiss(self) -> None:
        """Have it end."""
        os.close(self._write)

    # -- in a child -----------------------------------------------------------------------------

    def await_order(self) -> bytes:
        """Return what it is told; nothing if it is dismissed."""
        os.close(self._write)
        order = os.read(self._read, _ORDER)
        os.close(self._read)
        return order

"""Carries what reporters of workers have to the supervisor, which sends it."""

from __future__ import annotations

import itertools
import select
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that may wait for the supervisor, of all workers together; the kernel may allow less.
_WAITING: Final = 1 << 20
#: Largest message.
_LARGEST: Final = 1 << 16
#: Seconds between two readings: to wake up for each message takes longer than to read it.
_PAUSE: Final = 0.1
#: Messages of one reading, 5,000 a second: the supervisor has more to do, and a worker whose message is
#: not taken sends by itself.
_MOST: Final = 500


class Giver:
    """The workers' end of the line; all of them write to it, and none of them waits."""

    def __init__(self) -> None:
        self._theirs, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(0)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING)

    def connect(self, tell: Callable[[int], None]) -> None:
        """Tell by which file the other end is read, which this process does not keep."""
        tell(self._theirs.fileno())
        self._theirs.close()

    def give(self, place: int, data: bytes) -> bool:
        """Hand on what the reporter at this place has; return False if that cannot be done now."""
        if len(data) >= _LARGEST:
            return False
        try:
            self._ours.send(bytes((place,)) + data)
        except OSError:
            # The supervisor reads too slowly, or is gone, or a task has closed all files.
            return False
        return True

    def close(self) -> None:
        """Close this end."""
        self._ours.close()


class Taker:
    """The supervisor's end, which a thread reads until the last worker has ended."""

    def __init__(self, fd: int, take: Callable[[int, bytes], None]) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.settimeout(0)
        self._take = take
        self._lock = threading.Lock()
        #: set when nobody can write any more
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="qcore-reports-handed", daemon=True).start()

    @property
    def has_ended(self) -> bool:
        """Whether nobody writes any more."""
        return self._ended.is_set()

    def drain(self, most: int | None = None) -> None:
        """Take what waits, `most` messages of it if given; in any thread."""
        with self._lock:
            for _ in itertools.repeat(None) if most is None else range(most):
                if self._ended.is_set():
                    return
                try:
                    data = self._socket.recv(_LARGEST)
                except BlockingIOError:
                    return
                if data:
                    self._take(data[0], data[1:])
                else:
                    self._ended.set()
                    self._socket.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not self._ended.wait(_PAUSE):
            poll.poll()
            self.drain(_MOST)

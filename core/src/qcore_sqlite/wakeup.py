"""Decides how one process learns that another has written."""

from __future__ import annotations

import ctypes
import logging
import os
import select
import sys
import time

logger = logging.getLogger("qcore_sqlite")

#: seconds between looks at the database although the bell was silent: a process may be killed between
#: its commit and the ring
SAFETY = 1.0

_IN_MODIFY = 0x2
#: more than the kernel ever hands over for the one watch of an instance
_EVENTS = 4096


class Bell:
    """A one-byte file beside the database; writing it wakes whoever watches.

    It is rung after the commit, when the work is there to be seen. SQLite's own files do not serve:
    the log is written before the commit becomes visible, so its watchers come too early and must look
    again and again, and they are woken by every acknowledgement as well.
    """

    def __init__(self, path: str, poll: float) -> None:
        self._path = path
        self._poll = poll
        self._ring: int | None = None
        self._watch: int | None = None
        self._deaf = not sys.platform.startswith("linux")

    def ring(self) -> None:
        """Wake every process that waits; never fails, for what it tells of has already happened."""
        try:
            if self._ring is None:
                self._ring = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._ring, b"\0", 0)
        except OSError as exc:
            logger.debug("bell not rung path=%s: %s", self._path, exc)

    def wait(self, seconds: float) -> None:
        """Return when it is rung, or may have been since the last call, or `seconds` are over."""
        if self._deaf:
            time.sleep(max(0.0, min(seconds, self._poll)))
            return
        if self._watch is None:
            # what was written before the watch stood is for the caller to see, at once
            self._listen()
            return
        poller = select.poll()
        poller.register(self._watch, select.POLLIN)
        if poller.poll(max(0.0, min(seconds, max(self._poll, SAFETY))) * 1000):
            os.read(self._watch, _EVENTS)

    def close(self) -> None:
        """Give the descriptors back; the bell can be used again."""
        for descriptor in (self._ring, self._watch):
            if descriptor is not None:
                os.close(descriptor)
        self._ring = self._watch = None

    def _listen(self) -> None:
        try:
            # the file has to be there before it can be watched
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._watch = watch(self._path)
        except OSError as exc:
            self._deaf = True
            logger.info("looking every %s s at %s, it cannot be watched: %s", self._poll, self._path, exc)


def watch(path: str) -> int:
    """Return a descriptor that becomes readable when the file is written to.

    Raises:
        OSError: the user has too many of them already, 128 by default.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "inotify")
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(code, os.strerror(code), path)
    return descriptor

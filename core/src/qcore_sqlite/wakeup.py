"""Decides how one process learns that another one has written."""

from __future__ import annotations

import ctypes
import logging
import os
import select
import struct
import sys
import time

logger = logging.getLogger("qcore_sqlite")

#: longest wait without a notification, in seconds, because a process may be killed between its commit and
#: its notification
MAX_WAIT = 1.0

_IN_MODIFY = 0x2
#: the file was deleted, replaced or moved: the number of its links changed, or its name
_GONE = 0x4 | 0x400 | 0x800
#: one event: watch, mask, cookie, length of a name, of which a watched file has none
_EVENT = struct.Struct("iIII")
#: what is read after a notification; the first watch of a descriptor is number 1
_NOTIFIED = _EVENT.pack(1, _IN_MODIFY, 0, 0)
#: bytes; more than the kernel ever returns for one watch
_EVENTS = 4096


class Wakeup:
    """A one-byte file beside the database; writing to it wakes the processes that watch it.

    It is written after the commit, when the change is visible. SQLite's own files cannot be used: the
    log is written before the commit becomes visible, so its watchers would wake too early and have to
    poll, and every acknowledgement would wake them as well.
    """

    def __init__(self, path: str, poll: float, *, made: bool = True) -> None:
        self._path = path
        self._poll = poll
        self._write_descriptor: int | None = None
        self._watch_descriptor: int | None = None
        #: it was deleted while this process watched it, or who waits is not to make it
        self._gone = not made
        #: monotonic seconds; from then on it is looked at whether the file was deleted
        self._look_at = 0.0
        self._must_poll = not sys.platform.startswith("linux")

    def notify(self) -> None:
        """Wake every waiting process; an error is logged, because the change is committed already."""
        try:
            if self._write_descriptor is not None and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + MAX_WAIT
                if not os.fstat(self._write_descriptor).st_nlink:
                    # deleted: those who wait poll until there is another one
                    os.close(self._write_descriptor)
                    self._write_descriptor = None
            if self._write_descriptor is None:
                self._write_descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._write_descriptor, b"\0", 0)
        except OSError as exc:
            logger.debug("waiting processes not notified path=%s: %s", self._path, exc)

    def wait(self, seconds: float) -> bool:
        """Return after `seconds`, or earlier if a process notified, or may have since the last call.

        Returns:
            Whether a process notified, and the file is still the one that it was.
        """
        if self._must_poll:
            time.sleep(max(0.0, min(seconds, self._poll)))
            return False
        if self._watch_descriptor is None:
            # what was written before the watch began is visible to the caller at once
            if not self._start_watching():
                time.sleep(max(0.0, min(seconds, self._poll)))
            return False
        poller = select.poll()
        poller.register(self._watch_descriptor, select.POLLIN)
        if not poller.poll(max(0.0, min(seconds, max(self._poll, MAX_WAIT))) * 1000):
            return False
        events = os.read(self._watch_descriptor, _EVENTS)
        # the kernel makes one event of equal ones
        if events == _NOTIFIED:
            return True
        if any(mask & _GONE for _, mask, _, _ in _EVENT.iter_unpack(events)):
            # Who notifies makes it anew. Made here, it would be in the way of who deletes the folder.
            os.close(self._watch_descriptor)
            self._watch_descriptor = None
            self._gone = True
        return False

    def close(self) -> None:
        """Close the descriptors; the object can be used again."""
        for descriptor in (self._write_descriptor, self._watch_descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self._write_descriptor = self._watch_descriptor = None

    def _start_watching(self) -> bool:
        """Return False if the file was deleted and nobody has made it anew."""
        try:
            if not self._gone:
                # it has to exist before it can be watched
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._watch_descriptor = watch(self._path)
            self._gone = False
        except OSError as exc:
            if self._gone and isinstance(exc, FileNotFoundError):
                return False
            self._must_poll = True
            logger.info(
                "polling every %s s, the file cannot be watched path=%s: %s", self._poll, self._path, exc
            )
        return True


def watch(path: str) -> int:
    """Return an inotify descriptor that becomes readable when the file is written to or gone.

    Raises:
        OSError: the file does not exist, or the user has too many inotify instances, 128 by default.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "inotify")
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY | _GONE) < 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(code, os.strerror(code), path)
    return descriptor

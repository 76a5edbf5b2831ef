"""What of a process is restored after a task, and when."""

from __future__ import annotations

import gc
import io
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.worker")

#: attribute of `sys` -> attribute of `Surroundings`; their positions are those of the descriptors
_SLOTS: Final = {"stdin": "_in", "stdout": "_out", "stderr": "_err"}


class _Lasting(io.TextIOWrapper):
    """A standard stream that a task cannot close."""

    def close(self) -> None:
        """Write what is buffered, and stay open."""
        self.flush()


class Surroundings:
    """Restores what a task has changed and the next one relies on.

    After each task: the working directory, the umask, and streams that were replaced. After each
    batch, and after a task that failed: streams that are closed all the same. After each batch,
    because it takes a system call each: the descriptors below the streams, the default timeout of
    sockets and the garbage collector.
    """

    def __init__(self) -> None:
        self._home = os.open(".", os.O_RDONLY)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._collects = gc.isenabled()
        self._timeout = socket.getdefaulttimeout()
        self._in: Any = None
        self._out: Any = None
        self._err: Any = None
        #: streams that others have replaced; one that is collected would close its descriptor
        self._before: list[Any] = []
        #: a copy of each descriptor, and what it leads to; None = it was closed from the beginning
        self._files: list[tuple[int, tuple[int, int]] | None] = [None, None, None]
        self.adopt()

    def adopt(self) -> None:
        """Take the streams as they are now for those of the program: importing it may replace them."""
        for fd, (name, slot) in enumerate(_SLOTS.items()):
            seen = _identity(fd)
            file = self._files[fd]
            if seen is not None and (file is None or file[1] != seen):
                if file is not None:
                    os.close(file[0])
                self._files[fd] = os.dup(fd), seen
            stream = getattr(sys, name)
            if stream is not getattr(self, slot) and not _is_closed(stream):
                self._before.append(stream)
                setattr(self, slot, _lasting(name, stream))
                setattr(sys, name, getattr(self, slot))
                _redirect_logging(stream, getattr(self, slot))

    def after_task(
        self, fchdir: Callable[[int], None] = os.fchdir, umask: Callable[[int], int] = os.umask
    ) -> None:
        """Restore what costs next to nothing to look at; the defaults save a look-up each."""
        fchdir(self._home)
        umask(self._umask)
        if sys.stdout is not self._out or sys.stderr is not self._err:
            self.restore_streams()

    def after_batch(self) -> None:
        """Restore the rest."""
        for fd, file in enumerate(self._files):
            if file is not None and _identity(fd) != file[1]:
                self._restore_descriptor(fd)
        if not self._intact():
            self.restore_streams()
        if socket.getdefaulttimeout() != self._timeout:
            socket.setdefaulttimeout(self._timeout)
        if gc.isenabled() is not self._collects:
            (gc.enable if self._collects else gc.disable)()

    def restore_streams(self) -> None:
        """Restore streams that are replaced or closed; a line that is logged may raise before that."""
        changed = []
        for fd, (name, slot) in enumerate(_SLOTS.items()):
            ours = getattr(self, slot)
            closed = _is_closed(ours)
            if getattr(sys, name) is ours and not closed:
                continue
            changed.append(f"sys.{name}")
            if closed:
                self._restore_descriptor(fd)
                new = _opened(name, fd)
                _redirect_logging(ours, new)
                setattr(self, slot, new)
            setattr(sys, name, getattr(self, slot))
        if changed:
            _log.warning("a task closed or replaced %s; restored", " and ".join(changed))

    def _restore_descriptor(self, fd: int) -> None:
        file = self._files[fd]
        if file is not None and _identity(fd) != file[1]:
            os.dup2(file[0], fd)
            _log.warning("a task closed or replaced the descriptor %d; it is restored", fd)

    def _intact(self) -> bool:
        """Return whether all streams are in their places and open; most batches end so."""
        if sys.stdin is not self._in or sys.stdout is not self._out or sys.stderr is not self._err:
            return False
        try:
            return not (self._in.closed or self._out.closed or self._err.closed)
        except (AttributeError, ValueError):
            return False  # `restore_streams` looks at each


def _is_closed(stream: Any) -> bool:  # noqa: ANN401 - a task may put anything there
    """Return whether a stream cannot be used any more."""
    try:
        return stream is None or bool(stream.closed)
    except (AttributeError, ValueError):
        # It has no such thing, or its buffer was taken away.
        return True


def _lasting(name: str, stream: Any) -> Any:  # noqa: ANN401 - see above
    """Return a stream of the same kind that a task cannot close."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    stream.flush() if name != "stdin" else None
    return _Lasting(
        stream.buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _opened(name: str, fd: int) -> _Lasting:
    """Return a stream over a descriptor that stays open when the stream is closed."""
    mode = "r" if name == "stdin" else "w"
    errors = "backslashreplace" if name == "stderr" else "surrogateescape"
    raw = io.FileIO(fd, mode, closefd=False)
    buffer = io.BufferedReader(raw) if name == "stdin" else io.BufferedWriter(raw)
    return _Lasting(buffer, encoding="utf-8", errors=errors, line_buffering=True)


def _redirect_logging(old: object, new: object) -> None:
    """Have logging handlers of a closed stream write to its successor."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in [one for logger in loggers for one in getattr(logger, "handlers", ())]:
        if getattr(handler, "stream", None) is old:
            # Not `setStream`, which flushes the closed one.
            vars(handler)["stream"] = new


def _identity(fd: int) -> tuple[int, int] | None:
    """Return which file a descriptor leads to, None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino

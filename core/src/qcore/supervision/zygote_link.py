"""The supervisor's end of the line to the process that forks workers."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.supervision.protocol import MESSAGE, Boot, Notice, Order, decode_notice, encode
from qcore_process.exit_handlers import forget_exit_handlers
from qcore_process.forked import Forked
from qcore_process.parent import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.journal.memory import Journal

_log = logging.getLogger("qcore.pool")

#: Seconds that a process is given to end, before it is killed and after.
_END_TIMEOUT: Final = 2.0
#: Seconds after which an import, or a start, is said to take long, and seconds until that is said again.
_LONG: Final = 10.0
_AGAIN: Final = 60.0
#: A pidfd is not for programs that a plugin starts.
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ZygoteLink:
    """One zygote, and what it has reported."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, channel: socket.socket) -> None:
        self._process = process
        self.channel = channel
        # The supervisor must not wait for a process that hangs.
        channel.settimeout(0)
        self._unsent: deque[bytes] = deque()
        #: it has imported the user's modules and forks
        self.ready = False
        #: it has forked a worker
        self.served = False
        #: the schedules that the user's modules declare, complete once it is ready
        self.declared = b""
        #: the module that it imports, and since when, monotonic seconds
        self._importing = ""
        self._since = time.monotonic()
        self._logged_at = self._since + _LONG

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    # -- how it starts --------------------------------------------------------------------------

    @classmethod
    def fork(cls, parent: int, become: Callable[[socket.socket], None]) -> ZygoteLink:
        """Fork this process, which must have no other thread; `become` gets the other end of the line.

        The zygote and its workers share what is imported here, and start at once.
        """
        ours, theirs = _line()
        process = Forked.run(lambda: _in_child(parent, ours, theirs, become))
        theirs.close()
        return cls(process, ours)

    @classmethod
    def start(cls, boot: Boot, journal: Journal) -> ZygoteLink:
        """Start a program: this process has threads, and cannot fork."""
        ours, theirs = _line()
        source = str(Path(__file__).resolve().parents[2])
        program = (
            f"import sys; sys.path.append({source!r}); from qcore.supervision.zygote import main; "
            f"main({theirs.fileno()}, {journal.fd})"
        )
        process = subprocess.Popen(  # noqa: S603 - this interpreter and a program written here
            [sys.executable, "-c", program],
            pass_fds=(theirs.fileno(), journal.fd),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        made = cls(process, ours)
        made._send(encode(boot))
        return made

    def hand_over(self, boot: Boot, journal: Journal) -> None:
        """Make a process that has imported the user's module for the command line the first zygote."""
        try:
            socket.send_fds(self.channel, [encode(boot)], [journal.fd])
        except (BrokenPipeError, ConnectionResetError):
            _log.debug("the process that forks workers has ended; that is noticed elsewhere")

    # -- what is said ---------------------------------------------------------------------------

    def order(self, order: Order) -> None:
        """Have it fork or signal a worker; if it does not listen, the order waits."""
        self._send(encode(order))

    def flush(self) -> None:
        """Send the orders that have waited."""
        while self._unsent:
            data = self._unsent.popleft()
            if not self._try(data):
                self._unsent.appendleft(data)
                return

    def receive(self) -> tuple[Notice | None, int]:
        """Return the next notice and the pidfd that came with it, or -1; None if the zygote has ended."""
        try:
            data, fds, _, _ = socket.recv_fds(self.channel, MESSAGE, 1, _CLOSE_ON_EXEC)
        except ConnectionResetError:
            # It died with something unread: its boot, or an order.
            return None, -1
        if not data:
            return None, -1
        notice = decode_notice(data)
        match notice.what:
            case "importing":
                self._importing, self._since = notice.text, time.monotonic()
                self._logged_at = self._since + _LONG
            case "declared":
                self.declared += notice.body
            case "ready":
                self.ready = True
            case "up":
                self.served = True
            case _:
                pass
        return notice, fds[0] if fds else -1

    @property
    def delay(self) -> str:
        """What its start waits for, if that takes long."""
        seconds = time.monotonic() - self._since
        if self.ready or seconds < _LONG:
            return ""
        if self._importing:
            return f"the cluster still imports your module {self._importing!r} after {seconds:.0f} s"
        return f"the process that forks workers (pid {self.pid}) has not started in {seconds:.0f} s"

    def log_delay(self, meanwhile: str = "no task runs until it ends") -> None:
        """Log what its start waits for, now and then, and what happens meanwhile."""
        if self.delay and time.monotonic() >= self._logged_at:
            self._logged_at = time.monotonic() + _AGAIN
            _log.warning("%s; %s", self.delay, meanwhile)

    def forgive(self) -> None:
        """Count the time of its start anew: this process stood still, and perhaps that one too."""
        self._since = time.monotonic()

    # -- how it ends ----------------------------------------------------------------------------

    def close(self) -> None:
        """Let it end, and kill it if it does not; while it imports it cannot listen."""
        self.channel.close()
        if not self.ready:
            self._process.kill()
        self.wait()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def wait(self) -> int | None:
        """Wait until it has ended, at most a few seconds; return its exit status, None if it still runs."""
        try:
            return self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            _log.warning("the process that forks workers (pid %d) does not end; it is killed", self.pid)
            self._process.kill()
        try:
            return self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            _log.error("the process that forks workers (pid %d) cannot be killed", self.pid)
            return None

    def _send(self, data: bytes) -> None:
        if self._unsent or not self._try(data):
            self._unsent.append(data)

    def _try(self, data: bytes) -> bool:
        try:
            self.channel.send(data)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            _log.debug("the process that forks workers has ended; that is noticed elsewhere")
        return True


def can_fork() -> bool:
    """Return whether this process has one thread, so that no lock is left behind in a fork."""
    return threading.active_count() == 1


def _line() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _in_child(
    parent: int, ours: socket.socket, theirs: socket.socket, become: Callable[[socket.socket], None]
) -> None:
    ours.close()
    die_with_parent(parent)
    forget_exit_handlers()
    become(theirs)

"""Starts supervisors of a session's tests as forks of one preloaded process."""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
#: prctl(2): orphans among the descendants become children of this process
_PR_SET_CHILD_SUBREAPER: Final = 36
#: a request holds the environment and the text of a program
_LONGEST: Final = 1 << 20
#: file descriptors from here on are in nobody's way
_HIGH: Final = 500
#: what each cluster imports, some of it once it is asked for
_PRELOADED: Final = (
    "qcore.cluster",
    "qcore.workers.worker",
    "qcore_at_once.runners",
    "qcore_at_once.scout",
    "qcore_at_once.sharing",
    "qcore_at_once.side_by_side",
    "qcore_schedules.build",
    "qcore_schedules.role",
    "qcore_schedules.scheduler_thread",
    "qcore_settings.structure",
    "cattrs",
    "cattrs.cols",
    "cattrs.gen",
    "encodings.ascii",
    "pickle",
)
#: the processes of this session that fork supervisors
SERVERS: Final[set[int]] = set()


class Forked:
    """A process that was forked for us: what `Cluster` uses of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                return self.returncode
            # somebody else has waited for it, a test by psutil for one
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit status."""
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            try:
                if not select.select([ended], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("a forked supervisor", timeout or 0.0)
            finally:
                os.close(ended)
        status = self.poll()
        return status if status is not None else self.wait(timeout)

    def send_signal(self, number: int) -> None:
        """Send it a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process that has imported what a supervisor needs, and forks."""

    def __init__(self) -> None:
        # the forks are to be children of this process, as those it starts itself are
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # that of a cluster which a test starts: what is installed there is looked for once
        self._path = [os.getcwd() if part == "" else part for part in sys.path]

    @staticmethod
    def works_here() -> bool:
        """Tell whether forks can become children of this process, and are wanted."""
        return sys.platform == "linux" and not os.environ.get("TEST_QCORE_NO_FORKS")

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        text = (
            f"import sys; sys.path.append({str(ROOT)!r}); from tests.forkserver import next_program; "
            f"program = next_program({theirs.fileno()}, {os.getpid()}, {self._path!r}); "
            "exec(program, {'__name__': '__main__'})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", text],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # it runs longer than the first test, so it does not get that test's mark
            env={key: value for key, value in os.environ.items() if key != "MARK_OF_QCORE_TESTS"},
        )
        theirs.close()
        SERVERS.add(self._process.pid)
        return ours

    def run(self, program: str, fd: int) -> Forked:
        """Run a text as `python -c` would, with one open file; its output goes where ours does now."""
        self._line = self._line or self._start()
        request = {
            "program": program,
            "fd": fd,
            "environ": dict(os.environ),
            "folder": os.getcwd(),
            "processors": sorted(os.sched_getaffinity(0)),
        }
        socket.send_fds(self._line, [json.dumps(request).encode()], [fd, 1, 2])
        answer = self._line.recv(100)
        assert answer, "the process that forks supervisors has died; its output says why"
        return Forked(int(answer))

    def close(self) -> None:
        """End it."""
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.wait(20)
            SERVERS.discard(self._process.pid)


def next_program(line_fd: int, tests: int, path: list[str]) -> str:
    """Fork a process for each request; return in it what it is to run, and here when all is done."""
    _preload(path)
    # a supervisor knows nothing of the tests
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    # a test may end whatever descends from it; this process ends with the session
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = socket.socket(fileno=line_fd)
    while True:
        data, fds, _, _ = socket.recv_fds(line, _LONGEST, 3)
        if not data:
            return ""
        told, tell = os.pipe()
        between = os.fork()
        if not between:
            line.close()
            os.close(told)
            _fork_again(tell)
            return _become(json.loads(data), fds, tests)
        for fd in [*fds, tell]:
            os.close(fd)
        # once the one between is gone, its child is the child of whoever runs the tests
        os.waitpid(between, 0)
        line.send(os.read(told, 100))
        os.close(told)


def _preload(path: list[str]) -> None:
    """Do once what each supervisor would: import, and look for plugins on the path of the tests."""
    for name in _PRELOADED:
        importlib.import_module(name)
    from qcore.config import Config
    from qcore.plugins import Plugins
    from qcore.runtime import Runtime
    from tests.discovery import discover_once

    discover_once()
    own = sys.path[:]
    sys.path[:] = path
    plugins = Plugins.discover()
    Runtime(Config.from_dict({"name": "preload"}, plugins), plugins)
    sys.path[:] = own


def _fork_again(tell: int) -> None:
    """Go on in a child of this process, which ends: whoever runs the tests becomes the child's parent."""
    between = os.getpid()
    pid = os.fork()
    if pid:
        os.write(tell, str(pid).encode())
        os._exit(0)
    os.close(tell)
    while os.getppid() == between:
        time.sleep(0.0002)


def _become(request: dict[str, Any], fds: list[int], tests: int) -> str:
    """Make this process what `subprocess.Popen` would have made; return the program."""
    if os.getppid() != tests:
        os._exit(1)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kept = array.array("i", [os.dup2(fd, _HIGH + number) for number, fd in enumerate(fds)])
    for fd in fds:
        os.close(fd)
    for high, wanted in zip(kept, (request["fd"], 1, 2), strict=True):
        os.dup2(high, wanted)
        os.close(high)
    # an interpreter in the locale C chooses UTF-8 as it starts
    chosen = {key: value for key, value in os.environ.items() if key == "LC_CTYPE"}
    os.environ.clear()
    os.environ.update(chosen | request["environ"])
    time.tzset()
    os.chdir(request["folder"])
    os.sched_setaffinity(0, request["processors"])
    return str(request["program"])

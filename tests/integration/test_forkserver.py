"""A supervisor that the tests fork is what the product would have started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from qcore_process.interpreter import start as started
from tests.forkserver import ForkServer
from tests.integration.land import Marked, alive, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not ForkServer.works_here(), reason="forks become children on Linux only")

LOOK = """
import json, os, signal, socket, sys, threading
line = socket.socket(fileno={fd})
files = [int(name) for name in os.listdir("/proc/self/fd")]
line.sendall(json.dumps({{
    # readline, which pytest imports, hands its own two on behind Python's back
    "environ": {{key: value for key, value in os.environ.items() if key not in {{"COLUMNS", "LINES"}}}},
    "folder": os.getcwd(),
    "argv": sys.argv,
    "flags": list(sys.flags),
    "parent": os.getppid(),
    "leads a session": os.getsid(0) == os.getpid(),
    "files": sorted(one for one in files if os.path.exists(f"/proc/self/fd/{{one}}")),
    "input": os.path.realpath("/proc/self/fd/0"),
    "processors": sorted(os.sched_getaffinity(0)),
    "threads": threading.active_count(),
    "signals": [repr(signal.getsignal(number)) for number in (2, 13, 15, 17)],
    "tests": [name for name in sys.modules if name.startswith("tests")],
}}).encode())
line.close()
print("said", flush=True)
raise SystemExit(7)
"""


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """Return a server of this test's own."""
    made = ForkServer()
    yield made
    made.close()


def look(start: Any) -> tuple[dict[str, Any], int]:
    """Return what a process sees of itself, and how it ended."""
    ours, theirs = socket.socketpair()
    process = start(LOOK.format(fd=theirs.fileno()), theirs.fileno())
    theirs.close()
    data = b""
    while part := ours.recv(1 << 20):
        data += part
    ours.close()
    return json.loads(data), process.wait(100)


def test_a_fork_sees_what_a_start_sees(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Environment, folder, open files, parent, signals and exit status are the same."""
    look(server.run)
    # what has changed since the server was started counts too
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAID_LATER", "yes")
    capfd.readouterr()

    forked, status = look(server.run)
    printed = capfd.readouterr().out
    begun, expected = look(started)

    assert begun == forked
    assert forked["parent"] == os.getpid()
    assert (7, 7) == (expected, status)
    assert "said\n" == printed


def test_a_fork_is_waited_for_and_killed(server: ForkServer) -> None:
    """It has what a cluster uses of a process: whether it runs, an end in time, and a hard one."""
    ours, theirs = socket.socketpair()
    process = server.run("import time; time.sleep(600)", theirs.fileno())

    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(100) == process.returncode == -signal.SIGKILL
    assert not alive(process.pid)
    ours.close()
    theirs.close()


def test_a_fork_left_behind_is_found(server: ForkServer, nobody_left: Marked) -> None:
    """A process that descends from a fork is found though its parents are gone."""
    ours, theirs = socket.socketpair()
    program = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    assert server.run(program, theirs.fileno()).wait(100) == 0

    (orphan,) = until(nobody_left.left, "the orphan to be found")
    os.kill(orphan, signal.SIGKILL)
    until(lambda: not nobody_left.left(), "the orphan to be gone")
    ours.close()
    theirs.close()

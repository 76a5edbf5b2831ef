"""How a worker that has used the driver ends."""

from __future__ import annotations

import subprocess
import sys

#: what a worker does at its end
PROGRAM = """
import atexit
import pymongo.synchronous.monitor as monitor
from qcore_mongo import plugin

monitor._shutdown_executors = lambda: print("waits for threads")
if {stopped}:
    plugin.qcore_worker_stop()
atexit._run_exitfuncs()
"""


def ended(*, stopped: bool) -> str:
    """Return what a process says at its end."""
    program = PROGRAM.format(stopped=stopped)
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def test_a_worker_does_not_wait_for_threads_of_the_driver() -> None:
    """They notice twice a second that they are to end, and a recycled worker's slot would wait for that."""
    assert ended(stopped=True) == ""
    # a program that enqueues ends as the driver wants it
    assert ended(stopped=False) == "waits for threads"

"""What ends a process whose stop hangs, and what does not end one that has stopped."""

from __future__ import annotations

import subprocess
import sys

SLOW_END = """
import time
from qcore_process import stop_guard

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(1.5)

slow = Slow()
stop_guard.arm(0.5)
"""

HANGING_THREAD = """
import threading
from qcore_process import stop_guard

threading.Thread(target=threading.Event().wait, name="hangs").start()
stop_guard.arm(0.5, 7)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )


def test_an_interpreter_that_takes_long_to_end_ends_well() -> None:
    """No signal ends it once its threads have ended and its exit functions have run."""
    ended = run(SLOW_END)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_thread_that_does_not_end_is_named() -> None:
    """The process ends with the code it was given."""
    ended = run(HANGING_THREAD)

    assert ended.returncode == 7
    assert "thread 'hangs' does not end; the process ends without it" in ended.stderr

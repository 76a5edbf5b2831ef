"""How a program of ours is started in another interpreter."""

from __future__ import annotations

import subprocess
import sys


def start(program: str, fd: int) -> subprocess.Popen[bytes]:
    """Run a program text in a new interpreter, which inherits one open file."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        [sys.executable, "-c", program],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        # A terminal's Ctrl-C is for the program; it decides what becomes of its cluster.
        start_new_session=True,
    )

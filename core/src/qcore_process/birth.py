"""What a forked process changes of itself, and leaves at its end."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

_log = logging.getLogger("qcore.zygote")

#: The kernel should take a worker before the supervisor when memory runs out.
_OOM_SCORE: Final = b"300"


def quiet_stdin() -> None:
    """Have standard input come to an end at once."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def offer_to_oom_killer() -> None:
    """Have the kernel take this process before others."""
    try:
        # Not a text file: that would look for a codec in each worker.
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, _OOM_SCORE)
        finally:
            os.close(file)
    except OSError as exc:
        _log.debug("oom_score_adj could not be set: %s", exc)


def flush_streams() -> None:
    """Write out what is buffered; an end by `os._exit` does not."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as exc:
            _log.debug("a stream could not be flushed: %s", exc)

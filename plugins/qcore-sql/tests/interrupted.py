"""Raises in the midst of a call, wherever a signal's handler might."""

from __future__ import annotations

import dis
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

#: the instructions after which the interpreter runs the handlers of signals
_LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD", "SEND")


class Interrupted(BaseException):
    """What the handler raises."""


def everywhere(call: Callable[[], object], files: Collection[str]) -> Iterator[int]:
    """Make a call again and again, and raise at one point later each time; yield how many times it was.

    Args:
        call: what is interrupted; it ends when there is nothing left to interrupt.
        files: the names of the files with those points.

    """
    point = 0
    while _interrupted(call, files, point):
        point += 1
        yield point


def _interrupted(call: Callable[[], object], files: Collection[str], point: int) -> bool:
    """Make a call; return whether it had as many points, and was interrupted."""
    left = point
    #: frame -> the instruction that it has executed last
    last: dict[Any, str] = {}

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(tuple(files)):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before = last.get(frame, "")
            last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before.startswith(_LOOKS):
                left -= 1
                if left == -1:
                    sys.settrace(None)
                    raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
        last.clear()
    return left < 0

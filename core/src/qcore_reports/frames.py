"""Decides what becomes of frames until they are reported."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Frames of these may be suspended, and clearing one that is would end it.
_MAY_BE_SUSPENDED: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
#: A line of `faulthandler`, which writes the innermost frame first.
_DUMPED: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)


def release_locals(error: BaseException) -> None:
    """Clear the local variables of the frames that an exception holds.

    What they hold ends now, in the thread of the task, as it does without a report: a lock, a
    transaction, or much memory.
    """
    for one in _chain(error):
        trace = one.__traceback__
        while trace is not None:
            frame, trace = trace.tb_frame, trace.tb_next
            if not frame.f_code.co_flags & _MAY_BE_SUSPENDED:
                try:
                    frame.clear()
                except RuntimeError:
                    continue  # it still runs: the frame of whoever caught the exception


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those behind it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def read_dump(text: str) -> tuple[tuple[str, int, str], ...]:
    """Return file, line and function of each frame that `faulthandler` wrote, the outermost first."""
    return tuple((file, int(line), name) for file, line, name in reversed(_DUMPED.findall(text)))


def format_stack(stack: tuple[tuple[str, int, str], ...]) -> str:
    """Return a stack as a traceback shows it."""
    lines = [f'  File "{file}", line {line}, in {name}' for file, line, name in stack]
    return "\n".join(["Stack (most recent call last):", *lines]) if lines else ""

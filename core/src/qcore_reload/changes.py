"""The process that watches files: a line of JSON for each change."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qcore_reload.folders import is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

#: Seconds without a change after which what has changed is told: editors and tools write several
#: files, and one file several times.
QUIET: Final = 0.25
_STDOUT: Final = 1
#: CLOCK_REALTIME_COARSE of Linux, which the times of files are taken from
_COARSE: Final = 5


def file_time() -> int:
    """Return the time that a file would get now, epoch nanoseconds: up to some milliseconds late."""
    return time.clock_gettime_ns(_COARSE)


def main(parent: int, since: int, folders: list[str]) -> None:
    """Print what has changed since `since`, see `file_time`, until the process `parent` ends."""
    from watchfiles import Change, PythonFilter, watch  # noqa: PLC0415 - an extra

    chosen = PythonFilter()
    found = watch(
        *folders,
        watch_filter=None,
        step=50,
        debounce=100,
        rust_timeout=int(QUIET * 1000),
        yield_on_timeout=True,
    )

    def is_wanted(change: Any, path: str) -> bool:  # noqa: ANN401 - what watchfiles says
        return chosen(change, path) and not is_installed(os.path.realpath(path))

    first = next(found)
    # It takes a moment until files are watched.
    first |= {(Change.modified, file) for file in changed_since(since, folders, chosen.ignore_dirs)}
    for files in grouped(chain([first], found), is_wanted, time.monotonic):
        if os.getppid() != parent:
            return
        if files:
            os.write(_STDOUT, json.dumps(files).encode() + b"\n")


def changed_since(since: int, folders: Iterable[str], ignored: Container[str]) -> Iterator[str]:
    """Yield the Python files that were changed, or renamed to their name, from a `file_time` on."""
    for start in folders:
        for folder, inner, names in os.walk(start):
            inner[:] = [
                one for one in inner if one not in ignored and not is_installed(f"{folder}{os.sep}{one}")
            ]
            for name in names:
                if name.endswith(".py"):
                    # A link may lead nowhere.
                    with suppress(OSError):
                        if Path(folder, name).stat().st_ctime_ns >= since:
                            yield f"{folder}{os.sep}{name}"


def grouped(
    found: Iterable[set[tuple[Any, str]]], is_wanted: Callable[[Any, str], bool], clock: Callable[[], float]
) -> Iterator[list[str]]:
    """Yield what has changed once it is quiet, and nothing otherwise.

    Other files, such as a log, may change all the while.
    """
    changed: set[str] = set()
    last = 0.0
    for changes in found:
        now = clock()
        files = {path for change, path in changes if is_wanted(change, path)}
        if files:
            changed |= files
            last = now
        if changed and not files and now - last >= QUIET:
            yield sorted(changed)
            changed = set()
        else:
            yield []

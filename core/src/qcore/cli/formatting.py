"""How figures are written: times, rates, bytes, causes, progress."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from qcore_text.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.status import ClusterStatus, Percentiles, Progress

#: Last characters of an id that are shown for it; commands take them for the whole.
_SHORT: Final = 8
#: The order in which causes of replacement are listed; others follow.
_CAUSES: Final = ("recycled", "memory", "timeout", "crashed", "cancelled", "frozen")
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
#: Written where nothing is known.
NONE: Final = "-"


def short(id: str) -> str:
    """Return the end of an id."""
    return id[-_SHORT:]


def span(seconds: float) -> str:
    """Return a span of time in at most five characters: `0.4ms`, `12ms`, `1.2s`, `45s`, `3m`, `2h`, `5d`."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    if seconds < 0.00095:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{math.floor(seconds / size)}{unit}"
    return f"{seconds:.0f}s" if seconds >= 9.95 else f"{seconds:.1f}s"


def when(epoch: float) -> str:
    """Return a time in the local time zone, empty if it is not known."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch)) if epoch > 0 else ""


def spread(of: Percentiles | None) -> str:
    """Return median and 99th percentile."""
    return NONE if of is None else f"{span(of.p50)}/{span(of.p99)}"


def rate(per_second: float) -> str:
    """Return tasks a second, or a minute where that is less than one."""
    if not math.isfinite(per_second) or per_second <= 0:
        return "0/s"
    if per_second < 0.95:
        return f"{max(1, round(per_second * 60))}/min"
    return f"{per_second:,.0f}/s" if per_second >= 99.5 else f"{per_second:.1f}/s"


def size(bytes_: float) -> str:
    """Return an amount of memory, or a dash where it is not known."""
    if bytes_ <= 0:
        return NONE
    value = bytes_ / 1024
    for unit in _UNITS:
        if value < 1023.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:,.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def causes(reincarnations: Mapping[str, int]) -> str:
    """Return how many workers were replaced, by cause; a dash for none."""
    known = [cause for cause in _CAUSES if reincarnations.get(cause)]
    other = [cause for cause in sorted(reincarnations) if cause not in _CAUSES and reincarnations[cause]]
    return ", ".join(f"{reincarnations[cause]:,} {cause}" for cause in [*known, *other]) or NONE


def busy(cluster: ClusterStatus) -> int:
    """Return how many workers run a task."""
    return sum(worker.state == "busy" for worker in cluster.workers)


def share(of: Progress) -> float | None:
    """Return how far a task is, 0 to 1, None if the total is not known."""
    if not (math.isfinite(of.done) and math.isfinite(of.total)) or of.total <= 0:
        return None
    return min(1.0, max(0.0, of.done / of.total))


def progress(of: Progress | None, width: int = 12, marks: str = "#.") -> str:
    """Return a bar with its percentage, or the number done if the total is not known."""
    if of is None:
        return ""
    part = share(of)
    if part is None:
        return f"{of.done:,.10g} done"
    filled = math.floor(part * width)
    # Only what is done is 100 %.
    return f"{marks[0] * filled}{marks[1] * (width - filled)} {math.floor(part * 100):>3} %"


def progress_line(of: Progress | None) -> str:
    """Return a bar and the task's own text."""
    if of is None:
        return ""
    return line(", ".join(filter(None, [progress(of), of.note])))

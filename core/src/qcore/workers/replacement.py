"""When a worker is due to be replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.journal.records import ExitReason

if TYPE_CHECKING:
    import psutil

    from qcore.settings.options import Options
    from qcore_process.life import Life


def process() -> psutil.Process:
    """Return this process; the import takes memory that only affinity and `max_rss` need."""
    import psutil  # noqa: PLC0415 - see above

    return psutil.Process()


def replacement_due(options: Options, total: int, life: Life) -> ExitReason:
    """Return why a worker that has run `total` tasks must be replaced, NOT if it need not."""
    if options.recycle and total >= options.recycle and life.has_lasted(options.recycle_after):
        return ExitReason.RECYCLED
    if options.max_rss and process().memory_info().rss >= options.max_rss * 1024:
        return ExitReason.MEMORY
    return ExitReason.NOT

"""Decides which names of tasks are likely to be misspelt."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import Final

from qcore_names.resolve import imported, main_script
from qcore_text import wording

_log = logging.getLogger("qcore.producer")

#: names that were looked at, and how many are kept
SEEN: Final[set[str]] = set()
_MOST: Final = 1000


def warn_of_unknown(name: str) -> None:
    """Log once that nothing here has this name; nothing is imported for it."""
    if name in SEEN:
        return
    if len(SEEN) >= _MOST:
        SEEN.clear()
    SEEN.add(name)
    if imported(name) is None and (why := _why_unknown(name)):
        _log.warning("task %r is enqueued, and %s; its workers must have it", name, why)


def _why_unknown(name: str) -> str:
    """Return why a name leads to nothing here, empty if that cannot be known without importing."""
    parts = name.split(".")
    script = main_script()
    if script is not None and parts[0] == script.name.partition(".")[0]:
        return ""
    if parts[0] not in sys.modules:
        return "" if importlib.util.find_spec(parts[0]) else f"there is no module {parts[0]!r} here"
    module, last = ".".join(parts[:-1]), parts[-1]
    if (found := sys.modules.get(module)) is None or hasattr(found, "__path__"):
        # A package may have a module of that name which is not imported yet.
        return ""
    return f"{module} has no {last!r} here{wording.did_you_mean(last, vars(found))}"

"""How many dead letters that nobody signed are kept."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BadSignature, MalformedMessage
from qcore.messages.envelope import is_other_version
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.config import Config
    from qcore.interfaces import Broker
    from qcore.model import DeadLetter

_log = logging.getLogger("qcore.maintenance")

#: Dead letters read in one call and removed in one call.
_PAGE: Final = 1000
#: Seconds after which all are read again, because some may have become too old.
_READ_AGAIN: Final = 3600.0
#: What the reason of such a dead letter begins with. A message that was signed with an unknown key, or
#: by another version of qcore, may be a task that only has to wait, and is kept.
_REASONS: Final = (f"{BadSignature.__name__}:", f"{MalformedMessage.__name__}:")


def is_unsigned(letter: DeadLetter) -> bool:
    """Return whether a dead letter can never run, whatever keys are configured."""
    return letter.reason.startswith(_REASONS) and not is_other_version(letter.body)


class UnsignedPruner:
    """Removes the oldest dead letters that nobody signed, and none of a task."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._limit = config.unsigned_limit
        self._ttl = config.unsigned_ttl
        self._clock = clock
        #: how many dead letters there were, and when they were read, epoch seconds
        self._seen = 0
        self._read_at = 0.0

    def prune(self, broker: Broker) -> int:
        """Remove what is too much or too old; return how many."""
        if self._limit < 0 or not broker.capabilities.dead_letters:
            return 0
        now = self._clock()
        count = broker.size().dead_letters or 0
        # All of them are read only if there may be more than before, because that may take long.
        too_many = count > max(self._limit, self._seen)
        if not (too_many or (count and now - self._read_at > _READ_AGAIN)):
            return 0
        found = _unsigned(broker)
        oldest = 0.0 if self._ttl is None else now - self._ttl
        surplus = len(found) - self._limit
        ids = [one.id for index, one in enumerate(found) if index < surplus or 0 < one.dead_since < oldest]
        removed = sum(broker.delete(ids[start : start + _PAGE]) for start in range(0, len(ids), _PAGE))
        self._seen, self._read_at = count - removed, now
        if removed:
            _log.warning(
                "%s that nobody signed removed, the newest %d are kept (unsigned_limit, unsigned_ttl)",
                counted(removed, "dead letter"),
                len(found) - removed,
            )
        return removed


def _unsigned(broker: Broker) -> list[DeadLetter]:
    """Return the dead letters that nobody signed, oldest first."""
    found: list[DeadLetter] = []
    after = None
    while True:
        page = broker.dead_letters(_PAGE, after)
        found += filter(is_unsigned, page)
        if len(page) < _PAGE:
            return found
        after = page[-1].id

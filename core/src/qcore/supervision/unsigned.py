"""Which dead letters may be of strangers, and how many are kept."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BadSignature, MalformedMessage, UnknownKey
from qcore.messages.envelope import is_other_version
from qcore.model import KEY_ID_AT
from qcore_queues.dead_letter_bounds import Bound, DeadLetterBounds

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from qcore.config import Config
    from qcore.model import DeadLetter

_log = logging.getLogger("qcore.maintenance")

#: What the reason of a dead letter begins with that nobody signed.
_UNSIGNED: Final = (f"{BadSignature.__name__}:", f"{MalformedMessage.__name__}:")
#: The same of one that another key signed: it may be a task that waits for its key.
_STRANGE: Final = f"{UnknownKey.__name__}:"


def is_unsigned(letter: DeadLetter) -> bool:
    """Return whether a dead letter can never run, whatever keys are configured."""
    return letter.reason.startswith(_UNSIGNED) and not is_other_version(letter.body)


def dead_letter_bounds(
    config: Config, keys: Container[bytes], clock: Callable[[], float] = time.time
) -> DeadLetterBounds:
    """Return what removes the oldest dead letters that nobody signed, or that may be tasks of strangers.

    Args:
        config: says how many are kept.
        keys: ids of the keys of this cluster; what one of them has signed is kept.
        clock: epoch seconds.

    """

    def is_strange(letter: DeadLetter) -> bool:
        """Whether it may be a task that only has to wait, for a key or for another version of qcore."""
        if letter.reason.startswith(_STRANGE):
            return letter.body[KEY_ID_AT] not in keys
        return letter.reason.startswith(_UNSIGNED) and is_other_version(letter.body)

    ours = Bound(
        "that nobody signed",
        "unsigned_limit, unsigned_ttl",
        config.unsigned_limit,
        config.unsigned_ttl,
        is_unsigned,
        logging.WARNING,
    )
    strange = Bound(
        "of an unknown key or another version of qcore, which may have been tasks,",
        "unknown_key_limit, unknown_key_ttl",
        config.unknown_key_limit,
        config.unknown_key_ttl,
        is_strange,
        logging.ERROR,
    )
    return DeadLetterBounds([ours, strange], _log, clock)

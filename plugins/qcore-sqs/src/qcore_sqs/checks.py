"""What `qcore doctor` says of a queue's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_sqs.queues import Queues

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: seconds
_DAY: Final = 86_400


def check(settings: Settings) -> str:
    """Return how long messages are kept.

    Raises:
        BackendRejected: a queue is missing that is not to be made.

    """
    queues = Queues(settings)
    try:
        missing = [name for name in (queues.name, queues.dead_letters_name) if queues.find(name) is None]
        if missing and not queues.settings.create:
            raise BackendRejected(f"missing: {', '.join(missing)}; make it, or set sqs.create = true")
        if queues.name in missing:
            return f"{queues.name} is made when the first task comes"
        told = queues.attributes(queues.name, "MessageRetentionPeriod", "KmsMasterKeyId")
        days = int(told.get("MessageRetentionPeriod", 4 * _DAY)) / _DAY
        kept = f"{queues.name} keeps a message for {days:.3g} days"
        return f"{kept}; dead letters go to {queues.dead_letters_name}"
    finally:
        queues.link.close()

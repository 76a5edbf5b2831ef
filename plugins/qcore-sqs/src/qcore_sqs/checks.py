"""Checks a queue's settings at SQS for `qcore doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_queues.routes import Declared, Routes
from qcore_sqs.queues import Queues
from qcore_sqs.settings import SqsSettings
from qcore_sqs.several import settings_of

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: seconds
_DAY: Final = 86_400


def check(settings: Settings) -> str:
    """Return how long the queue, and each that is declared, keeps messages.

    Raises:
        BackendRejected: a queue is missing and must not be created.

    """
    section = settings.section("sqs") or SqsSettings()
    if not (section.queues or section.priorities):
        return _check(settings)
    routes = Routes(Declared(queues=section.queues, priorities=section.priorities), None).all
    return "; ".join(_check(settings_of(settings, route)) for route in routes)


def _check(settings: Settings) -> str:
    queues = Queues(settings)
    try:
        missing = [name for name in (queues.name, queues.dead_letters_name) if queues.find(name) is None]
        if missing and not queues.settings.create:
            raise BackendRejected(f"missing: {', '.join(missing)}; create it, or set sqs.create = true")
        if queues.name in missing:
            return f"{queues.name} will be created when the first task is enqueued"
        attributes = queues.attributes(queues.name, "MessageRetentionPeriod", "KmsMasterKeyId")
        days = int(attributes.get("MessageRetentionPeriod", 4 * _DAY)) / _DAY
        kept = f"{queues.name} keeps a message for {days:.3g} {'day' if days == 1 else 'days'}"
        return f"{kept}; dead letters go to {queues.dead_letters_name}"
    finally:
        queues.connection.close()

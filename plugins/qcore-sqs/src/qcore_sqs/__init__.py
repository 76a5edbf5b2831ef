"""Exports the broker for Amazon SQS and its settings."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_sqs.broker import SqsBroker
    from qcore_sqs.settings import SqsSettings
else:
    __getattr__ = on_demand(__name__, SqsBroker=".broker", SqsSettings=".settings")

__all__ = ["SqsBroker", "SqsSettings"]

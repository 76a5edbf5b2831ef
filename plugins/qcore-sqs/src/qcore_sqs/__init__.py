"""Amazon SQS behind qcore's doors."""

from qcore_sqs.broker import SqsBroker
from qcore_sqs.settings import SqsSettings

__all__ = ["SqsBroker", "SqsSettings"]

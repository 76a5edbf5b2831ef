"""IronMQ as a broker."""

from qcore_ironmq.broker import IronBroker
from qcore_ironmq.settings import IronSettings

__all__ = ["IronBroker", "IronSettings"]

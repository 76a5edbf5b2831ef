"""IronMQ as a broker."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_ironmq.broker import IronBroker
    from qcore_ironmq.settings import IronSettings
else:
    __getattr__ = on_demand(__name__, IronBroker=".broker", IronSettings=".settings")

__all__ = ["IronBroker", "IronSettings"]

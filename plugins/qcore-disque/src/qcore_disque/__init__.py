"""Disque as a broker."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_disque.broker import DisqueBroker
else:
    __getattr__ = on_demand(__name__, DisqueBroker=".broker")

__all__ = ["DisqueBroker"]

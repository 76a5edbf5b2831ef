"""Disque as a broker."""

from qcore_disque.broker import DisqueBroker

__all__ = ["DisqueBroker"]

"""Redis and Valkey as plugins of qcore."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_redis.broker import RedisBroker
    from qcore_redis.results import RedisResults
    from qcore_redis.schedules import RedisSchedules
    from qcore_redis.settings import RedisSettings
else:
    __getattr__ = on_demand(
        __name__,
        RedisBroker=".broker",
        RedisResults=".results",
        RedisSchedules=".schedules",
        RedisSettings=".settings",
    )

__all__ = ["RedisBroker", "RedisResults", "RedisSchedules", "RedisSettings"]

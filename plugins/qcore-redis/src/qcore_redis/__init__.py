"""Redis and Valkey behind qcore's doors."""

from qcore_redis.broker import RedisBroker
from qcore_redis.results import RedisResults
from qcore_redis.schedules import RedisSchedules
from qcore_redis.settings import RedisSettings

__all__ = ["RedisBroker", "RedisResults", "RedisSchedules", "RedisSettings"]

"""What redis-py knows the way to: TLS and sentinels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from qcore_redis import error_mapping
from qcore_redis.address import Address
from qcore_redis.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence


class Secure(Address):
    """One server that redis-py connects to: by TLS, or with what only Python can hold."""

    def __init__(self, keywords: dict[str, Any], title: str) -> None:
        super().__init__(keywords, title)
        self._keywords = {
            "socket_keepalive": True,
            **self._keywords,
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self._connect_timeout,
            # answers are read by us, and nothing is sent twice
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }

    def open(self, key: bytes, deadline: float) -> Connection:
        """Let redis-py connect, and take its socket."""
        del key
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise error_mapping.lost(TimeoutError("timed out"), self.title)
        limits = {"socket_timeout": seconds, "socket_connect_timeout": min(seconds, self._connect_timeout)}
        try:
            connection = self._client(limits).connection_pool.make_connection()
            connection.connect()
        except redis.AuthenticationError as exc:
            raise error_mapping.refused(_with_word(exc, "WRONGPASS"), self.title) from exc
        except redis.exceptions.BusyLoadingError as exc:
            raise error_mapping.refused(_with_word(exc, "LOADING"), self.title) from exc
        except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
            self.forget()
            raise error_mapping.lost(exc, self.title) from exc
        except redis.RedisError as exc:
            raise error_mapping.refused(exc, self.title) from exc
        # redis-py has no public name for it
        return Connection(connection._sock, connection.disconnect)  # noqa: SLF001 - see above

    def _client(self, limits: dict[str, float]) -> Any:  # noqa: ANN401 - a client of redis-py
        return redis.Redis(**{**self._keywords, **limits})


class Watched(Secure):
    """The primary that sentinels name."""

    def __init__(self, nodes: Sequence[tuple[str, int]], service: str, keywords: dict[str, Any]) -> None:
        super().__init__(keywords, f"{service}/{keywords['db']}")
        self._service = service
        options = {key: self._keywords[key] for key in ("socket_connect_timeout", "socket_timeout", "retry")}
        self._sentinel = Sentinel(nodes, **options, protocol=2)  # type: ignore[no-untyped-call]  # it has no types

    def _client(self, limits: dict[str, float]) -> Any:  # noqa: ANN401 - a client of redis-py
        host, port = self._sentinel.discover_master(self._service)  # type: ignore[no-untyped-call]  # as above
        return redis.Redis(**{**self._keywords, **limits, "host": host, "port": port})


def _with_word(error: BaseException, word: str) -> Exception:
    """Return the error with the server's word for it, which redis-py has taken off."""
    return Exception(f"{word} {error}")

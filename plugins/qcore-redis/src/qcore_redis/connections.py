"""What redis-py knows the way to: TLS, sentinels, clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from qcore_redis import error_mapping
from qcore_redis.address import Address, Opened

if TYPE_CHECKING:
    from collections.abc import Sequence


class Secure(Address):
    """One server that redis-py connects to: by TLS, or with what only Python can hold."""

    def __init__(self, keywords: dict[str, Any], title: str) -> None:
        super().__init__(keywords, title)
        self._keywords = {
            "socket_keepalive": True,
            **keywords,
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self._patience,
            # answers are read by us, and nothing is sent twice
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }

    def open(self, key: bytes) -> Opened:
        """Let redis-py connect, and take its socket."""
        try:
            connection = self._client(key).connection_pool.make_connection()
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
        return Opened(connection._sock, connection.disconnect)  # noqa: SLF001 - see above

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - a client of redis-py
        del key
        return redis.Redis(**self._keywords)


class Watched(Secure):
    """The primary that sentinels name."""

    def __init__(self, nodes: Sequence[tuple[str, int]], service: str, keywords: dict[str, Any]) -> None:
        super().__init__(keywords, f"{service}/{keywords['db']}")
        self._service = service
        options = {key: self._keywords[key] for key in ("socket_connect_timeout", "socket_timeout", "retry")}
        self._sentinel = Sentinel(nodes, **options, protocol=2)  # type: ignore[no-untyped-call]  # it has no types

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - a client of redis-py
        del key
        host, port = self._sentinel.discover_master(self._service)  # type: ignore[no-untyped-call]  # as above
        return redis.Redis(**{**self._keywords, "host": host, "port": port})


class Sharded(Secure):
    """The node of a cluster that has this queue."""

    def __init__(self, nodes: Sequence[tuple[str, int]], keywords: dict[str, Any]) -> None:
        super().__init__(keywords, ",".join(f"{host}:{port}" for host, port in nodes))
        self._keywords.pop("db", None)
        self._nodes = nodes
        self._cluster: Any = None

    def forget(self) -> None:
        """Ask the cluster anew where the queue is."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - a client of redis-py
        if self._cluster is None:
            nodes = [ClusterNode(*one) for one in self._nodes]  # type: ignore[no-untyped-call]  # it has no types
            self._cluster = RedisCluster(startup_nodes=nodes, **self._keywords)
        node = self._cluster.get_node_from_key(key)
        return redis.Redis(**{**self._keywords, "host": node.host, "port": node.port})


def _with_word(error: BaseException, word: str) -> Exception:
    """Return the error with the server's word for it, which redis-py has taken off."""
    return Exception(f"{word} {error}")

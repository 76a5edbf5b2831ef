"""What a user may write under the key `redis`."""

from __future__ import annotations

from typing import Any

import attrs

from qcore_plugin_support import given


@attrs.frozen(kw_only=True)
class RedisSettings:
    """The key `redis` as a table: the keywords of redis-py and a few of ours; None = not said."""

    #: name or address; empty = localhost
    host: str | None = None
    port: int | None = None
    db: int | None = None
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    #: instead of host and port
    unix_socket_path: str | None = None
    #: instead of all of these; redis, rediss, unix, redis+sentinel or redis+cluster
    url: str | None = attrs.field(default=None, repr=False)
    #: seconds a whole call may take, beyond the time it asks the server to wait; None = 5
    socket_timeout: float | None = None
    #: seconds a connection may take; None = 5
    socket_connect_timeout: float | None = None
    socket_keepalive: bool | None = None
    socket_keepalive_options: dict[str, Any] | None = None
    client_name: str | None = None
    #: connections of one process to one server; who needs one more waits; None = 100
    max_connections: int | None = None
    #: replicas that must confirm what is enqueued; None = 0, none
    wait_replicas: int | None = None
    #: seconds they get; None = 1
    wait_replicas_timeout: float | None = None
    ssl: bool | None = None
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_cert_reqs: str | None = None
    ssl_ca_certs: str | None = None
    ssl_ca_path: str | None = None
    ssl_ca_data: str | None = None
    ssl_check_hostname: bool | None = None
    ssl_password: str | None = attrs.field(default=None, repr=False)
    ssl_ciphers: str | None = None
    ssl_min_version: Any = None
    ssl_include_verify_flags: Any = None
    ssl_exclude_verify_flags: Any = None
    ssl_validate_ocsp: bool | None = None
    ssl_validate_ocsp_stapled: bool | None = None
    ssl_ocsp_context: Any = None
    ssl_ocsp_expected_cert: str | None = None
    credential_provider: Any = attrs.field(default=None, repr=False)
    #: a function that is called with each new connection of redis-py
    redis_connect_func: Any = None
    # -- taken and not used: a connection of qcore's speaks bytes, is used by one thread and is
    # -- not retried behind its back
    charset: str | None = None
    errors: str | None = None
    encoding: str | None = None
    encoding_errors: str | None = None
    decode_responses: bool | None = None
    retry_on_timeout: bool | None = None
    retry_on_error: Any = None
    retry: Any = None
    connection_pool: Any = None
    single_connection_client: bool | None = None
    health_check_interval: float | None = None
    socket_read_size: int | None = None
    protocol: int | None = None
    lib_name: str | None = None
    lib_version: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return what is said and used."""
        return given(self, _UNUSED)


_UNUSED = frozenset(
    {
        "url",
        "charset",
        "errors",
        "encoding",
        "encoding_errors",
        "decode_responses",
        "retry_on_timeout",
        "retry_on_error",
        "retry",
        "connection_pool",
        "single_connection_client",
        "health_check_interval",
        "socket_read_size",
        "protocol",
        "lib_name",
        "lib_version",
    }
)

"""Defines the configuration key `mongo`."""

# ruff: noqa: N815 - pymongo's MongoClient uses these names

from __future__ import annotations

from typing import Any

import attrs

from qcore_plugin_support import given


@attrs.frozen(kw_only=True)
class MongoSettings:
    """The configuration key `mongo` as a table: parameters of MongoClient; None = not set."""

    #: name, address, `name:port`, a URI, or a list of these; empty = localhost
    host: Any = attrs.field(default=None, repr=False)
    port: int | None = None
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    authSource: str | None = None
    authMechanism: str | None = None
    authMechanismProperties: Any = attrs.field(default=None, repr=False)
    authOIDCAllowedHosts: list[str] | None = None
    replicaSet: str | None = None
    directConnection: bool | None = None
    loadBalanced: bool | None = None
    #: write concern; None = majority
    w: Any = None
    wTimeoutMS: int | None = None
    journal: bool | None = None
    fsync: bool | None = None
    tls: bool | None = None
    ssl: bool | None = None
    tlsInsecure: bool | None = None
    tlsAllowInvalidCertificates: bool | None = None
    tlsAllowInvalidHostnames: bool | None = None
    tlsCAFile: str | None = None
    tlsCertificateKeyFile: str | None = None
    tlsCertificateKeyFilePassword: str | None = attrs.field(default=None, repr=False)
    tlsCRLFile: str | None = None
    tlsDisableOCSPEndpointCheck: bool | None = None
    #: milliseconds to wait for an answer; None = 15000
    socketTimeoutMS: int | None = None
    #: milliseconds to open a connection; None = 5000
    connectTimeoutMS: int | None = None
    #: milliseconds to find a primary; None = 15000 for a replica set, else 5000
    serverSelectionTimeoutMS: int | None = None
    timeoutMS: int | None = None
    waitQueueTimeoutMS: int | None = None
    heartbeatFrequencyMS: int | None = None
    localThresholdMS: int | None = None
    maxIdleTimeMS: int | None = None
    maxPoolSize: int | None = None
    minPoolSize: int | None = None
    maxConnecting: int | None = None
    maxStalenessSeconds: int | None = None
    maxAdaptiveRetries: int | None = None
    enableOverloadRetargeting: bool | None = None
    retryReads: bool | None = None
    retryWrites: bool | None = None
    compressors: Any = None
    zlibCompressionLevel: int | None = None
    appname: str | None = None
    driver: Any = None
    server_api: Any = None
    serverMonitoringMode: str | None = None
    server_selector: Any = None
    event_listeners: Any = None
    auto_encryption_opts: Any = attrs.field(default=None, repr=False)
    srvServiceName: str | None = None
    srvMaxHosts: int | None = None
    srvAllowedHostsSuffix: str | None = None
    # -- accepted but not used, because a queue's documents have a fixed form and are read from the primary
    connect: bool | None = None
    document_class: Any = None
    tz_aware: bool | None = None
    tzinfo: Any = None
    datetime_conversion: Any = None
    type_registry: Any = None
    unicode_decode_error_handler: str | None = None
    uuidRepresentation: str | None = None
    readPreference: str | None = None
    readPreferenceTags: Any = None
    readConcernLevel: str | None = None
    waitQueueMultiple: int | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the parameters for MongoClient."""
        return given(self, _UNUSED)


_UNUSED = frozenset(
    {
        "connect",
        "document_class",
        "tz_aware",
        "tzinfo",
        "datetime_conversion",
        "type_registry",
        "unicode_decode_error_handler",
        "uuidRepresentation",
        "readPreference",
        "readPreferenceTags",
        "readConcernLevel",
        "waitQueueMultiple",
    }
)

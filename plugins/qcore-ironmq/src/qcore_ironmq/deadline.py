"""Gives the connections of urllib3 one time limit for a whole request."""

from __future__ import annotations

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from qcore_plugin_support.http_deadline import LimitedResponse


class _Plain(HTTPConnection):
    response_class = LimitedResponse


class _Secure(HTTPSConnection):
    response_class = LimitedResponse


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def limited(pool: urllib3.PoolManager) -> urllib3.PoolManager:
    """Return a pool whose connections end by the deadline."""
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pool

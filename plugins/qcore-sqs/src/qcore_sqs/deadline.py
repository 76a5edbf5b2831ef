"""Gives the connections of boto3 one time limit for a whole request."""

from __future__ import annotations

from typing import Any

from botocore import awsrequest  # type: ignore[import-untyped]  # it comes without types

from qcore_plugin_support.http_deadline import LimitedResponse


class _Plain(awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # see above
    response_class = LimitedResponse


class _Secure(awsrequest.AWSHTTPSConnection):  # type: ignore[misc]  # see above
    response_class = LimitedResponse


class _PlainPool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]  # see above
    ConnectionCls = _Plain


class _SecurePool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]  # see above
    ConnectionCls = _Secure


def limit(client: Any) -> None:  # noqa: ANN401 - a client of boto3, which has no types
    """Let the connections of a client end by the deadline."""
    # botocore has no public name for them
    classes = client._endpoint.http_session._pool_classes_by_scheme  # noqa: SLF001 - see above
    classes.update(http=_PlainPool, https=_SecurePool)

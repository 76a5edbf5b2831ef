"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import Broker, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `sqs`."""
    from qcore_sqs.settings import SqsSettings

    return {"sqs": SqsSettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `sqs`."""
    return {"sqs": _broker}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the scheme `sqs`: sqs://us-east-1; boto3 finds the credentials."""
    return {"sqs": _of_url}


@hookimpl
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
    """Offer a check of the queue's settings at SQS."""
    return {"sqs": _check}


def _of_url(url: str) -> Mapping[str, Any]:
    region = url.partition("://")[2].strip("/")
    return {"sqs": {"aws_region": region} if region else {}}


def _broker(settings: Settings) -> Broker:
    from qcore_sqs.several import broker_of

    return broker_of(settings)


def _check(settings: Settings) -> str:
    from qcore_sqs.checks import check

    return check(settings)

"""What this plugin offers, by name."""

# ruff: noqa: PLC0415 - what a factory needs is imported when it is asked for, not before

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import Broker, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `iron_mq`."""
    from qcore_ironmq.settings import IronSettings

    return {"iron_mq": IronSettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `iron_mq`."""
    return {"iron_mq": _broker}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the scheme `ironmq`: ironmq://PROJECT_ID:TOKEN@HOST; what is left out is found as ever."""
    return {"ironmq": _of_url}


def _broker(settings: Settings) -> Broker:
    from qcore_ironmq.broker import IronBroker

    return IronBroker(settings)


def _of_url(url: str) -> Mapping[str, Any]:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    told = {"host": parts.hostname, "port": parts.port, "project_id": parts.username, "token": parts.password}
    texts = {key: unquote(value) if isinstance(value, str) else value for key, value in told.items()}
    return {"iron_mq": {key: value for key, value in texts.items() if value}}

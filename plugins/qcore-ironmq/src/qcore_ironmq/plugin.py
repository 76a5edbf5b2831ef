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
    from qcore_ironmq.several import broker_of

    return broker_of(settings)


def _of_url(url: str) -> Mapping[str, Any]:
    from urllib.parse import unquote, urlsplit

    from qcore.errors import ConfigError

    parts = urlsplit(url)
    try:
        # what stands there may be the rest of a token that was not quoted: it is not shown
        port = parts.port
        wrong = port == 0 or "@" in f"{parts.path}{parts.query}{parts.fragment}"
    except ValueError:
        wrong = True
    if wrong:
        fault = (
            "ironmq://PROJECT_ID:TOKEN@HOST:PORT: the port must be a whole number from 1 to 65535,"
            " and in the token each of / ? # must be quoted, / as %2F"
        )
        raise ConfigError([fault])
    keywords = {"host": parts.hostname, "port": port, "project_id": parts.username, "token": parts.password}
    texts = {key: unquote(value) if isinstance(value, str) else value for key, value in keywords.items()}
    return {"iron_mq": {key: value for key, value in texts.items() if value}}

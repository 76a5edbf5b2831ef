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
    """Offer the keys `disque_nodes`, `disque_auth` and so on."""
    return {
        "disque_nodes": list[str],
        "disque_auth": str,
        "disque_fastack": bool,
        "disque_replicate": int,
        "disque_timeout": float,
        "disque_queues": list[str],
        "disque_priorities": bool,
    }


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `disque_nodes`."""
    return {"disque_nodes": _broker}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the scheme `disque`: disque://:password@host:port,host:port."""
    return {"disque": _of_url}


def _broker(settings: Settings) -> Broker:
    from qcore_disque.several import broker_of

    return broker_of(settings)


def _of_url(url: str) -> Mapping[str, Any]:
    from urllib.parse import unquote

    password, _, nodes = url.partition("://")[2].rstrip("/").rpartition("@")
    auth = unquote(password.rpartition(":")[2])
    return {"disque_nodes": nodes.split(",")} | ({"disque_auth": auth} if auth else {})

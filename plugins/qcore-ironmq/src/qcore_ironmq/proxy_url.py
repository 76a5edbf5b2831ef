"""Decides what the URL of a proxy may be."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

_SCHEMES: Final = ("http", "https")


def wrong(text: str) -> str:
    """Return what is wrong with the URL of a proxy, nothing if it is right; its password is never shown."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        right = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        # what cannot be written into a header
        right = right and unquote(f"{parts.username}{parts.password}").isprintable()
    except ValueError:
        right = False
    return "" if right else "must be a URL such as http://proxy.example:3128, http or https"

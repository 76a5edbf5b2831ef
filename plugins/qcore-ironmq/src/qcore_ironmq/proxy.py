"""Decides through which proxy IronMQ is reached."""

from __future__ import annotations

import urllib.request
from urllib.parse import unquote, urlsplit

import attrs
import urllib3

from qcore.errors import ConfigError
from qcore_ironmq.proxy_url import wrong


@attrs.frozen(kw_only=True)
class Proxy:
    """A proxy, and who we are to it."""

    #: without user and password
    url: str
    credentials: str = attrs.field(default="", repr=False)

    @classmethod
    def of(cls, setting: str | None, target: str) -> Proxy | None:
        """Return the proxy for a URL: the setting's, else that of HTTPS_PROXY or HTTP_PROXY.

        NO_PROXY names hosts that are reached without the environment's.
        """
        parts = urlsplit(target)
        if setting:
            return cls._read(setting, "iron_mq.proxy")
        environment = urllib.request.getproxies_environment()
        host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        bypassed = urllib.request.proxy_bypass_environment(host, environment)  # type: ignore[attr-defined]  # untyped
        if parts.scheme not in environment or bypassed:
            return None
        return cls._read(environment[parts.scheme], f"{parts.scheme.upper()}_PROXY")

    def pool(self) -> urllib3.ProxyManager:
        """Return a connection through it."""
        headers = urllib3.make_headers(proxy_basic_auth=self.credentials) if self.credentials else None
        return urllib3.ProxyManager(self.url, num_pools=1, maxsize=1, proxy_headers=headers)

    @classmethod
    def _read(cls, text: str, where: str) -> Proxy:
        # the environment often leaves the scheme out
        given = text if "://" in text else f"http://{text}"
        if fault := wrong(given):
            raise ConfigError([f"{where}: {fault}"])
        parts = urlsplit(given)
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        port = f":{parts.port}" if parts.port else ""
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(url=f"{parts.scheme}://{host}{port}", credentials=f"{user}:{password}" if user else "")

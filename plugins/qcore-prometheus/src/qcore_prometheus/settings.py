"""What a user may set under `prometheus`."""

from __future__ import annotations

from typing import Final

import attrs

#: the largest number of a port
_PORTS: Final = 65_535


def _check_address(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= _PORTS):
        msg = f"{attribute.name} must be HOST:PORT, such as 127.0.0.1:9808 or [::]:9808, got: {value!r}"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class PrometheusSettings:
    """The configuration key `prometheus`."""

    #: where the supervisor listens; port 0 = any that is free, which the log names
    address: str = attrs.field(default="127.0.0.1:9808", validator=_check_address)

    @property
    def host(self) -> str:
        """The host, without the brackets of an IPv6 address."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The number of the port."""
        return int(self.address.rpartition(":")[2])

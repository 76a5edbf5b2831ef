"""Defines the configuration key `sql`."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class SqlSettings:
    """The configuration key `sql` as a table; as a text it is the URL."""

    #: `postgresql://user@host:port/database`, `mariadb://...`, or `sqlite:///path`
    url: str = attrs.field(default="", repr=False)
    #: instead of one in the URL
    password: str | None = attrs.field(default=None, repr=False)
    #: whether missing tables are created at the first use
    create_tables: bool = True
    #: most connections of a process at once, beside those that are notified and for transactions of tasks
    pool_size: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    #: seconds to open a connection
    connect_timeout: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    #: seconds to wait for the answer to a statement
    timeout: float = attrs.field(default=15.0, validator=attrs.validators.gt(0))
    #: further parameters of the driver's `connect`
    options: dict[str, Any] = attrs.field(factory=dict, repr=False)

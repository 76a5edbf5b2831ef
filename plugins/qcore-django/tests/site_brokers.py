"""A broker that has one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from qcore_sqlite.broker import SqliteBroker

if TYPE_CHECKING:
    from qcore.interfaces import Settings


class OneQueue(SqliteBroker):
    """A queue in a file that has neither queues nor priorities."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.capabilities = attrs.evolve(self.capabilities, queues=False)

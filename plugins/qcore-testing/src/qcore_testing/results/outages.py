"""Rules of a result store whose server is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore_testing.results.base import result
from qcore_testing.store_outages import StoreOutageRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import ResultStore


class ResultOutageRules(StoreOutageRules):
    """What each call of a result store does without its server."""

    def calls(self, store: ResultStore) -> Mapping[str, Callable[[], object]]:
        """Return calls that cannot be answered without the server."""
        return {
            "save": lambda: store.save([result()]),
            "get": lambda: store.get([bytes(16)]),
            "wait": lambda: store.wait(bytes(16), 0.01),
            "group": lambda: store.group("group"),
            "recent": store.recent,
            "counts": store.counts,
            "delete": lambda: store.delete([bytes(16)]),
            "ungroup": lambda: store.ungroup("group"),
            "prune": lambda: store.prune(1000),
        }

"""Which store keeps what, where the broker keeps nothing but messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qcore.config import Config
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins
from qcore.runtime import Runtime
from qcore_sqlite.schedules import SqliteSchedules
from qcore_testing.memory.results import MemoryResults
from qcore_testing.memory.schedules import MemorySchedules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@hookimpl
def qcore_result_stores() -> Mapping[str, Any]:
    """Offer a store of results that keeps no schedules."""
    return {"ledger": MemoryResults}


@pytest.mark.parametrize(
    ("result_store", "kind"),
    [("memory", MemorySchedules), ("ledger", SqliteSchedules), (None, SqliteSchedules)],
)
def test_schedules_are_kept_where_results_are_unless_the_broker_keeps_them(
    result_store: str | None, kind: type, tmp_path: Path
) -> None:
    """The broker's own store comes first, then that of `result_store`, then SQLite."""
    plugins = Plugins.discover(
        extra={"ledger": SimpleNamespace(qcore_result_stores=qcore_result_stores)}, env={}
    )
    told = {
        "name": "elsewhere",
        "secret_key": "a key that is long enough, twice over",
        "broker_class": "somewhere.else.Broker",
        "result_store": result_store,
        "sqlite": {"path": str(tmp_path / "queue.db")},
    }
    runtime = Runtime(Config.from_dict(told, plugins), plugins)

    scheduler = runtime.make_schedule_store()

    assert type(scheduler) is kind
    scheduler.close()


def test_schedules_stay_with_a_broker_that_keeps_them(tmp_path: Path) -> None:
    """Then a slot's task and its schedule are one step, wherever the results are."""
    plugins = Plugins.discover(env={})
    told = {"sqlite": {"path": str(tmp_path / "queue.db")}, "result_store": "memory"}
    runtime = Runtime(Config.from_dict(told, plugins), plugins)

    scheduler = runtime.make_schedule_store()

    assert type(scheduler) is SqliteSchedules
    scheduler.close()

"""Which store keeps what, where the broker keeps nothing but messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qcore.config import Config
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins
from qcore.runtime import Runtime
from qcore_sqlite import SqliteCoordination, SqliteResults
from qcore_sqlite.schedules import SqliteSchedules
from qcore_testing.memory import MemoryCoordination
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

    store = runtime.make_schedule_store()

    assert type(store) is kind
    store.close()


def test_schedules_stay_with_a_broker_that_keeps_them(tmp_path: Path) -> None:
    """Then a slot's task and its schedule are one step, wherever the results are."""
    plugins = Plugins.discover(env={})
    told = {"sqlite": {"path": str(tmp_path / "queue.db")}, "result_store": "memory"}
    runtime = Runtime(Config.from_dict(told, plugins), plugins)

    store = runtime.make_schedule_store()

    assert type(store) is SqliteSchedules
    store.close()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"broker_class": "somewhere.else.Broker", "result_store": "memory"}, MemoryCoordination),
        ({"broker_class": "somewhere.else.Broker", "result_store": "ledger"}, SqliteCoordination),
        ({"broker_class": "somewhere.else.Broker"}, SqliteCoordination),
        ({"result_store": "memory"}, SqliteCoordination),
        ({"coordination_store": "memory"}, MemoryCoordination),
    ],
)
def test_coordination_is_where_it_is_told_or_beside_the_queue(
    told: dict[str, Any], kind: type, tmp_path: Path
) -> None:
    """The setting comes first, then the broker's own store, then that of `result_store`, then SQLite."""
    plugins = Plugins.discover(
        extra={"ledger": SimpleNamespace(qcore_result_stores=qcore_result_stores)}, env={}
    )
    told |= {
        "secret_key": "a key that is long enough, twice over",
        "sqlite": {"path": str(tmp_path / "queue.db")},
    }
    runtime = Runtime(Config.from_dict(told, plugins), plugins)

    with runtime.coordination_stores.connection(create=True) as store:
        assert type(store) is kind
        assert store.get_flags(["never set"]) == [None]
    runtime.close()


def test_stores_of_one_thread_share_a_connection(tmp_path: Path) -> None:
    """A worker opens one file, not two."""
    runtime = Runtime(Config.from_dict({"sqlite": {"path": str(tmp_path / "queue.db")}}))
    store = runtime.make_store()
    assert isinstance(store, SqliteResults)

    coordination = runtime.make_coordination_store(beside=store)

    assert isinstance(coordination, SqliteCoordination)
    assert coordination._database is store.database
    coordination.set_flag("mark", b"x", 60.0)
    store.close()
    coordination.close()

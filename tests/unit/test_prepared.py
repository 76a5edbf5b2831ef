"""What of the backends serves processes that are forked later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.config import Config
from qcore.errors import QueueMissing
from qcore.guarding import guarded
from qcore.interfaces import Settings
from qcore.plugins import Plugins
from qcore.workers.prepared import Backends, Prepared
from qcore_queues.refusal import refusing_routes
from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSettings
from qcore_sqlite.coordination import make_coordination
from qcore_testing.memory import MemoryBroker, MemoryServer
from tests.integration import tasks

if TYPE_CHECKING:
    from pathlib import Path

    from qcore.interfaces import Broker


class Derived(SqliteBroker):
    """May have a connection of its own."""


class Elsewhere(MemoryBroker):
    """Keeps nothing in the file of the results."""

    #: how many were made and not closed
    open = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(MemoryServer().queue(settings.name), retry=1.0, backend="kit")
        Elsewhere.open += 1

    def close(self) -> None:
        """Count it."""
        Elsewhere.open -= 1


def prepared(folder: Path) -> Prepared:
    """Return what workers share whose results are in a file, and their queue elsewhere."""
    plugins = Plugins.discover(env={})
    told = {
        "name": "elsewhere",
        "secret_key": "a key that is long enough, twice over",
        "broker_class": "tests.unit.test_prepared.Elsewhere",
        "sqlite": {"path": str(folder / "results.db")},
    }
    return Prepared(Config.from_dict(told, plugins), plugins)


def backends(folder: Path, broker: Broker | None = None) -> Backends:
    """Return guarded backends in a file, and this broker."""
    settings = Settings(name="kit", sections={"sqlite": SqliteSettings(path=folder / "kit.db")})
    broker = SqliteBroker(settings) if broker is None else broker
    store, coordination = SqliteResults(settings), make_coordination(settings)
    return Backends(guarded(broker, "one"), guarded(store, "another"), guarded(coordination, "a third"))


def test_backends_that_say_so_serve_forks(tmp_path: Path) -> None:
    """Whatever guards them."""
    assert backends(tmp_path).may_fork


def test_a_class_that_is_derived_is_asked_itself(tmp_path: Path) -> None:
    """What it inherits does not know of what it has."""
    settings = Settings(name="kit", sections={"sqlite": SqliteSettings(path=tmp_path / "kit.db")})

    assert not backends(tmp_path, Derived(settings)).may_fork


def test_one_that_says_nothing_does_not(tmp_path: Path) -> None:
    """Each worker makes its own."""
    broker = refusing_routes(MemoryBroker(MemoryServer().queue("kit"), retry=1.0, backend="kit"), "memory")

    assert not backends(tmp_path, broker).may_fork


def test_no_file_is_made_before_workers_are_forked(tmp_path: Path) -> None:
    """Results in a new file would be lost to those who know the old one."""
    prepared(tmp_path).warm_up()

    assert not list(tmp_path.iterdir())


def test_a_broker_is_closed_if_its_store_is_away(tmp_path: Path) -> None:
    """It is made anew with the store, again and again until that answers."""
    with pytest.raises(QueueMissing):
        prepared(tmp_path).connect()

    assert Elsewhere.open == 0


def test_tasks_of_preloaded_modules_are_found_before_workers_are_forked(tmp_path: Path) -> None:
    """All workers share what they need to know of a function."""
    found = prepared(tmp_path)
    found.backends = backends(tmp_path)

    found.plan_ahead([tasks.__name__])

    planner = found.planner(found.backends.broker.capabilities)
    assert planner.cached(tasks.choosy.options.head(tasks.choosy.name)) is not None


def test_a_cluster_with_many_tasks_starts_as_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first are found before, and the others once they run."""
    monkeypatch.setattr("qcore.workers.prepared._AHEAD", 1)
    found = prepared(tmp_path)
    found.backends = backends(tmp_path)

    # a module may take itself out of those that are imported
    found.plan_ahead(["not_imported", tasks.__name__])

    planner = found.planner(found.backends.broker.capabilities)
    known = [planner.cached(one.options.head(one.name)) for one in (tasks.choosy, tasks.jittery)]
    assert [one is not None for one in known] == [True, False]


def test_objects_that_are_made_at_their_first_use_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module may have a proxy of a connection, which no process may share."""
    made: list[str] = []

    class Proxy:
        @property  # type: ignore[misc]  # as lazy objects of libraries have it
        def __class__(self) -> type:
            made.append("made")
            return Proxy

    monkeypatch.setattr(tasks, "proxy", Proxy(), raising=False)
    found = prepared(tmp_path)
    found.backends = backends(tmp_path)

    found.plan_ahead([tasks.__name__])

    assert not made

"""What of the backends serves processes that are forked later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.guarding import guarded
from qcore.interfaces import Settings
from qcore.workers.prepared import Backends
from qcore_queues.refusal import refusing_routes
from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSettings
from qcore_sqlite.coordination import make_coordination
from qcore_testing.memory import MemoryBroker, MemoryServer

if TYPE_CHECKING:
    from pathlib import Path

    from qcore.interfaces import Broker


class Derived(SqliteBroker):
    """May have a connection of its own."""


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

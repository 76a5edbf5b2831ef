"""The tests discover plugins once, and anew when there may be others."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import pytest

import qcore_sqlite.plugin
from qcore import installed
from qcore.plugins import Plugins
from tests.discovery import Discovery

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.portable


def test_what_is_known_is_not_discovered_again() -> None:
    """It is what the product finds."""
    assert Plugins.discover() is Plugins.discover(env={}) is Plugins.discover([], extra={})
    known, found = Plugins.discover(), Plugins.discover(env={"QCORE_DISABLE_PLUGINS": ","})
    assert known is not found
    assert known.listing() == found.listing()


def test_what_was_asked_for_is_discovered() -> None:
    """A plugin is switched off or added for who says so, and for nobody else."""
    module = types.ModuleType("added")

    assert "sqlite" not in Plugins.discover(["sqlite"]).names("qcore_brokers")
    assert "sqlite" not in Plugins.discover(env={"QCORE_DISABLE_PLUGINS": "sqlite"}).names("qcore_brokers")
    assert "added" in {one.name for one in Plugins.discover(extra={"added": module}).listing()}
    assert "sqlite" in Plugins.discover().names("qcore_brokers")
    assert "added" not in {one.name for one in Plugins.discover().listing()}


def a_value(patch: pytest.MonkeyPatch) -> None:
    """Put something into the module of a plugin."""
    patch.setattr(qcore_sqlite.plugin, "added", 1, raising=False)


def a_hook(patch: pytest.MonkeyPatch) -> None:
    """Put another function in the place of a hook."""
    patch.setattr(qcore_sqlite.plugin, "qcore_brokers", qcore_sqlite.plugin.qcore_settings)


def a_module(patch: pytest.MonkeyPatch) -> None:
    """Have the module of a plugin imported again."""
    patch.delitem(sys.modules, "qcore_sqlite.plugin")


def the_path(patch: pytest.MonkeyPatch) -> None:
    """Look in one folder more."""
    patch.setattr(sys, "path", [*sys.path, "/nothing/is/here"])


def what_is_installed(patch: pytest.MonkeyPatch) -> None:
    """Have nothing installed."""
    patch.setattr(installed, "from_metadata", lambda: iter(()))


@pytest.mark.parametrize("change", [a_value, a_hook, a_module, the_path, what_is_installed])
def test_they_are_discovered_when_anything_has_changed(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """A test that changes a plugin, or what is found, sees what it has changed."""
    calls: list[int] = []
    discover = Discovery()
    real = discover._discover

    def counted(*given: object, **named: object) -> Plugins:
        calls.append(1)
        return real(*given, **named)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(discover, "_discover", counted)
    discover()
    discover()
    assert len(calls) == 1

    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        discover()

    assert len(calls) == 2

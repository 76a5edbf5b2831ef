"""The engine with its scheduler, with another one, and without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qcore import App, Config
from qcore.builtin import plugin as builtin
from qcore.errors import PluginNotFound
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins
from qcore.scheduling import scheduler_if_any, scheduler_of, start_firing
from qcore_schedules import plugin as own
from qcore_testing import plugin as memory

pytestmark = pytest.mark.portable


def app_with(**more: object) -> App:
    """Return an App with these plugins beside its broker."""
    plugins = Plugins.of({"builtin": builtin, "memory": memory, **more})
    return App(Config.from_dict({"name": "plans", "memory": {}}, plugins), plugins=plugins)


def test_without_a_scheduler_the_rest_works() -> None:
    """A queue is purged; what needs schedules says that nothing offers them."""
    app = app_with()
    app.enqueue("a.task")

    assert (app.queue.purge(), app.queue.size().ready) == (1, 0)
    assert scheduler_if_any(app.runtime.plugins) is None
    with pytest.raises(PluginNotFound, match="no scheduler named 'schedules'; installed: none"):
        app.schedules.list()
    with pytest.raises(PluginNotFound, match="no scheduler"):
        start_firing(app.runtime, b"")


def test_a_scheduler_that_is_switched_off_is_named() -> None:
    """Whoever has switched it off reads how it comes back."""
    plugins = Plugins.discover(["schedules"], extra={"memory": memory})

    with pytest.raises(PluginNotFound, match=r"the plugin schedules \(qcore .*\) is switched off"):
        scheduler_of(plugins)


def test_another_scheduler_takes_its_place() -> None:
    """It is offered by the same name, and the engine asks it for everything."""
    asked: list[object] = []

    class Other:
        """Knows no schedules."""

        def api(self, app: object) -> str:
            asked.append(app)
            return "schedules of another kind"

        def purge(self, runtime: object, broker: Any) -> int:
            asked.append(runtime)
            return int(broker.purge())

    @hookimpl
    def qcore_schedulers() -> dict[str, Any]:
        return {"schedules": Other}

    app = app_with(other=SimpleNamespace(qcore_schedulers=qcore_schedulers))

    assert str(app.schedules) == "schedules of another kind"
    assert app.queue.purge() == 0
    assert asked == [app, app.runtime]


def test_the_own_one_is_made_once_for_an_app() -> None:
    """Whoever keeps `app.schedules` and who asks for it again have the same."""
    app = app_with(schedules=own)

    assert app.schedules is app.schedules
    assert app.schedules.list() == []

"""Discovers the installed plugins once for a session, as long as they are what they were."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from qcore import installed
from qcore.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Discovery:
    """What was discovered with nothing switched off and nothing added, by the path of modules.

    Each App and each configuration of a test discovers the plugins, which takes seven milliseconds, and
    each forked process does. A test may change what is found: the path, what is installed, a module, or
    anything in one. Then they are discovered anew, and so are they for a program of its own.
    """

    def __init__(self) -> None:
        self._discover = Plugins.discover
        self._finders = self._found_by()
        self._known: dict[tuple[str, ...], tuple[Plugins, list[tuple[Any, dict[str, Any]]]]] = {}

    @staticmethod
    def _found_by() -> tuple[object, ...]:
        return (
            *(
                installed.from_metadata,
                installed._installed,
                installed.check_distribution,
                installed._version,
            ),
        )

    def __call__(
        self,
        blocked: Collection[str] = (),
        *,
        extra: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Plugins:
        """Return what `Plugins.discover` does."""
        off = (os.environ if env is None else env).get("QCORE_DISABLE_PLUGINS")
        if blocked or extra or off or self._found_by() != self._finders:
            return self._discover(blocked, extra=extra, env=env)
        path = tuple(sys.path)
        if path in self._known and _unchanged(self._known[path][1]):
            return self._known[path][0]
        found = self._discover(env=env)
        if all(plugin.module is not None and not plugin.broken for plugin in found.listing()):
            modules = [plugin.module for plugin in found.listing()]
            self._known[path] = found, [(module, dict(vars(module))) for module in modules]
        return found


def _unchanged(modules: list[tuple[Any, dict[str, Any]]]) -> bool:
    return all(
        sys.modules.get(module.__name__) is module
        and len(vars(module)) == len(before)
        and all(vars(module).get(name) is value for name, value in before.items())
        for module, before in modules
    )


def discover_once() -> None:
    """Have this process and what it forks discover the plugins once."""
    if not isinstance(Plugins.discover, Discovery):
        Plugins.discover = Discovery()  # type: ignore[method-assign]  # for this session

"""Finds plugins: entry points of distributions, and given modules."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore import hookspecs
from qcore.errors import PluginError
from qcore_names.entry_points import entry_points, version_of
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from qcore_names.entry_points import EntryPoint

#: name of the distribution, and of the group of entry points for plugins
OURS = "qcore"
#: the entry point of what is built into qcore
BUILTIN = "builtin"
#: the first year in our version numbers; the public index has an unrelated `qcore` 1.x
FIRST_VERSION = 26
#: configuration key -> the distribution that offers it
KNOWN: Final = {
    "redis": "qcore-redis",
    "sqs": "qcore-sqs",
    "mongo": "qcore-mongo",
    "mongo_db": "qcore-mongo",
    "sql": "qcore-sql",
    "iron_mq": "qcore-ironmq",
    "disque_nodes": "qcore-disque",
    "disque_auth": "qcore-disque",
    "disque_fastack": "qcore-disque",
    "disque_replicate": "qcore-disque",
    "disque_timeout": "qcore-disque",
    "spool": "qcore-example",
    "orm": "qcore-django",
    "prometheus": "qcore-prometheus",
}
#: name of a serializer, a reporter, or the broker for tests -> the distribution that offers it
KNOWN_OTHERS: Final = {
    "json": "qcore-json",
    "pickle": "qcore-pickle",
    "memory": "qcore-testing",
    "sentry": "qcore-sentry",
    "rollbar": "qcore-rollbar",
    "otel": "qcore-otel",
}
#: name of a command -> the distribution that offers it
KNOWN_COMMANDS: Final = {
    "monitor": "qcore-monitor",
    "memory": "qcore-monitor",
    "sql": "qcore-sql",
    "metrics": "qcore-prometheus",
}
#: distribution of ours -> those that it needs beside the core
NEEDED: Final = {"qcore-django": ("qcore-sql",)}
#: keys of Django-Q that mean something on a Django site alone
SITES: Final = frozenset({"has_replica", "django_redis", "cache"})
_HOOKS = frozenset(name for name in vars(hookspecs) if name.startswith("qcore_"))


@attrs.define(kw_only=True)
class Plugin:
    """One plugin: its distribution, what it offers, or why it cannot be used."""

    name: str
    #: None for a module that was passed to `Plugins`
    distribution: str | None = None
    version: str | None = None
    file: str = ""
    #: registration hook -> name -> factory or type
    offers: dict[str, dict[str, Any]] = attrs.field(factory=dict, repr=False)
    #: names of the lifecycle hooks it implements
    hooks: tuple[str, ...] = ()
    #: why it cannot be used; "" if it can
    broken: str = ""
    #: disabled by the user
    blocked: bool = False
    #: the registered module
    module: object = attrs.field(default=None, repr=False, eq=False)
    #: imports the module
    load: Callable[[], object] = attrs.field(repr=False, eq=False)

    @property
    def title(self) -> str:
        """The name in messages: `sqs (qcore-sqs 26.11.0)`."""
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name

    @property
    def ours(self) -> bool:
        """Whether it is the built-in plugin, or a module that replaces it."""
        return self.name == BUILTIN and self.distribution in {OURS, None}


def distribution_of(name: str) -> str | None:
    """Return the distribution that offers a name, None if it is not known."""
    return KNOWN.get(name) or KNOWN_OTHERS.get(name)


def install(distribution: str) -> str:
    """Return how a distribution of ours is installed; none is published, so there is only the source."""
    folders = " ./plugins/".join((*NEEDED.get(distribution, ()), distribution))
    return f"in a clone of qcore, pip install ./plugins/{folders}"


def reinstall(distribution: str | None) -> str:
    """Return what mends a broken plugin, to end a message with; "" for a module given by hand."""
    if distribution in {*KNOWN.values(), *KNOWN_OTHERS.values(), *KNOWN_COMMANDS.values()}:
        return f"; to mend it: {install(distribution)}"
    # By its name a stranger's package might be taken from the public index.
    return f"; install {distribution} again, from where it came" if distribution else ""


def remedy(name: str) -> str:
    """Return what to do about a name that no installed plugin offers; "" if it is not known."""
    if distribution := distribution_of(name):
        return f"the package {distribution} offers it: {install(distribution)}"
    if name in SITES:
        package = "qcore-django"
        return f"the package {package} reads it, in Q_CLUSTER of a Django site: {install(package)}"
    return ""


def from_metadata(points: Iterable[EntryPoint] | None = None) -> Iterator[Plugin]:
    """Yield the plugins of the installed distributions, the built-in one first, then by name."""
    plugins = [
        Plugin(name=point.name, distribution=point.distribution, version=point.version, load=point.load)
        for point in (_installed(tuple(sys.path)) if points is None else points)
    ]
    yield from sorted(plugins, key=lambda plugin: (not plugin.ours, plugin.name, plugin.distribution or ""))


@functools.cache
def _installed(path: tuple[str, ...]) -> list[EntryPoint]:
    # once for each path: it looks into a folder of every distribution there is
    return entry_points(OURS, path)


def by_hand(modules: Mapping[str, object]) -> Iterator[Plugin]:
    """Yield plugins for modules that a user passes by name."""
    for name, module in modules.items():
        yield Plugin(name=name, load=lambda module=module: module)  # type: ignore[misc]  # binds the loop's value


def check_distribution(find: Callable[[str], str | None] = version_of) -> None:
    """Check that the installed distribution `qcore` is this one.

    Raises:
        PluginError: it is not installed, or it is the unrelated library.
    """
    version = _version(tuple(sys.path)) if find is version_of else find(OURS)
    if version is None:
        raise PluginError(
            f"qcore is imported from {hookspecs.__file__} but is not installed, so its built-in plugin "
            "cannot be found; in a clone of qcore, pip install ./core"
        )
    year = version.partition(".")[0]
    if not year.isdigit() or int(year) < FIRST_VERSION:
        raise PluginError(
            f"the installed distribution 'qcore' is version {version}, an unrelated library of the same "
            "name, and one environment cannot have both; in a clone of qcore, "
            "pip install --force-reinstall ./core"
        )


@functools.cache
def _version(path: tuple[str, ...]) -> str | None:
    return version_of(OURS, path)


def check_hooks(module: object) -> None:
    """Check that every function of a plugin whose name begins with `qcore_` is a valid hook.

    Raises:
        PluginError: one is not marked, has an unknown name, or is a coroutine or a generator.
    """
    for name in [name for name in dir(module) if name.startswith("qcore_")]:
        function = getattr(module, name)
        if not callable(function) or hasattr(function, "qcore_spec"):
            continue
        options = getattr(function, "qcore_impl", None)
        if options is None:
            raise PluginError(
                f"its function {name!r} is not marked as a hook; write @qcore.hookspecs.hookimpl above it"
            )
        if name not in _HOOKS and not options.get("optionalhook") and not options.get("specname"):
            hint = wording.did_you_mean(name, _HOOKS) or f"; known are {wording.listed(_HOOKS)}"
            raise PluginError(f"it implements an unknown hook {name!r}{hint}")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise PluginError(f"its hook {name!r} is a coroutine or generator; write it as a plain function")

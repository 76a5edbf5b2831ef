"""What is installed: distributions, entry points, modules given by hand."""

from __future__ import annotations

import inspect
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore import hookspecs, wording
from qcore.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: the distribution, and the group of entry points that plugins announce themselves in
OURS = "qcore"
#: the entry point of the brokers, stores and serializers that come with qcore
BUILTIN = "builtin"
#: ours are numbered by year from here on; the index holds an unrelated `qcore` 1.x
FIRST_VERSION = 26
#: what to install for names that are known to come from elsewhere
KNOWN: Final = {
    "redis": "qcore-redis",
    "sqs": "qcore-sqs",
    "mongo": "qcore-mongo",
    "mongo_db": "qcore-mongo",
    "iron_mq": "qcore-ironmq",
    "disque_nodes": "qcore-disque",
    "disque_auth": "qcore-disque",
    "disque_fastack": "qcore-disque",
    "disque_replicate": "qcore-disque",
    "spool": "qcore-example",
    "orm": "qcore-django",
    "has_replica": "qcore-django",
    "django_redis": "qcore-django",
    "cache": "qcore-django",
    "sentry": "qcore-sentry",
    "rollbar": "qcore-rollbar",
}
#: the same for names of serializers, and for the broker of tests
KNOWN_OTHERS: Final = {"json": "qcore-json", "pickle": "qcore-pickle", "memory": "qcore-testing"}
#: the same for commands
KNOWN_COMMANDS: Final = {"monitor": "qcore-monitor", "memory": "qcore-monitor"}
_SPECIFIED = frozenset(name for name in vars(hookspecs) if name.startswith("qcore_"))


@attrs.define(kw_only=True)
class Plugin:
    """One plugin: where it comes from, what it offers, or why it cannot be used."""

    name: str
    #: None for a plugin given by hand
    distribution: str | None = None
    version: str | None = None
    file: str = ""
    #: hook -> name -> what is offered
    offers: dict[str, dict[str, Any]] = attrs.field(factory=dict, repr=False)
    #: lifecycle hooks it implements
    hooks: tuple[str, ...] = ()
    #: why it cannot be used; empty while it can
    broken: str = ""
    #: switched off by the user
    blocked: bool = False
    #: what was registered
    module: object = attrs.field(default=None, repr=False, eq=False)
    #: imports it
    load: Callable[[], object] = attrs.field(repr=False, eq=False)

    @property
    def title(self) -> str:
        """Name it as a message does: `sqs (qcore-sqs 26.11.0)`."""
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name

    @property
    def ours(self) -> bool:
        """Whether it is what comes with qcore, or was put in its place by hand."""
        return self.name == BUILTIN and self.distribution in {OURS, None}


def distribution_of(name: str) -> str | None:
    """Return the distribution that is known to offer a name, None if none is known."""
    return KNOWN.get(name) or KNOWN_OTHERS.get(name)


def from_metadata(points: Iterable[metadata.EntryPoint] | None = None) -> Iterator[Plugin]:
    """Yield what the installed distributions announce, ours first, then by name."""
    found = metadata.entry_points(group=OURS) if points is None else points
    plugins = [
        Plugin(
            name=point.name,
            distribution=point.dist.name if point.dist else None,
            version=point.dist.version if point.dist else None,
            load=point.load,
        )
        for point in found
    ]
    yield from sorted(plugins, key=lambda plugin: (not plugin.ours, plugin.name, plugin.distribution or ""))


def by_hand(modules: Mapping[str, object]) -> Iterator[Plugin]:
    """Yield the modules a user gives, by the names they are given."""
    for name, module in modules.items():
        yield Plugin(name=name, load=lambda module=module: module)  # type: ignore[misc]  # binds the loop's value


def check_distribution(find: Callable[[str], metadata.Distribution] = metadata.distribution) -> None:
    """Raise PluginError unless the installed distribution `qcore` is this one."""
    try:
        version = str(find(OURS).version)
    except metadata.PackageNotFoundError:
        raise PluginError(
            f"qcore is imported from {hookspecs.__file__} but not installed, so that its built-in plugin "
            "cannot be found; install it, for example with: pip install -e ./core"
        ) from None
    year = version.partition(".")[0]
    if not year.isdigit() or int(year) < FIRST_VERSION:
        raise PluginError(
            f"the installed distribution 'qcore' is version {version}, an unrelated library of the same "
            "name, and the two cannot live in one environment. "
            f"pip install --force-reinstall 'qcore>={FIRST_VERSION}.11'"
        )


def check_hooks(module: object) -> None:
    """Raise PluginError for a function of a plugin that looks like a hook and would never be called."""
    for name in [name for name in dir(module) if name.startswith("qcore_")]:
        function = getattr(module, name)
        if not callable(function) or hasattr(function, "qcore_spec"):
            continue
        options = getattr(function, "qcore_impl", None)
        if options is None:
            raise PluginError(f"its function {name!r} is not marked; put @qcore.hookspecs.hookimpl above it")
        if name not in _SPECIFIED and not options.get("optionalhook") and not options.get("specname"):
            hint = wording.did_you_mean(name, _SPECIFIED) or f"; there are {wording.listed(_SPECIFIED)}"
            raise PluginError(f"it implements an unknown hook {name!r}{hint}")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise PluginError(f"its hook {name!r} is a coroutine or generator; write it as a plain function")

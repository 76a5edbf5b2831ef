"""Which plugins there are and what each name leads to."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import pluggy

from qcore import hookspecs, installed
from qcore.errors import INTERRUPTS, PluginBroken, PluginError, PluginNotFound, SkipTask
from qcore.interfaces import Settings
from qcore_reports import django_q
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from qcore.installed import Plugin
    from qcore.interfaces import ErrorReporter

_log = logging.getLogger("qcore.plugins")

#: the registration hooks, and what a message calls the things they offer
KINDS: Final = {
    "qcore_settings": "setting",
    "qcore_brokers": "broker",
    "qcore_local_brokers": "local broker",
    "qcore_result_stores": "result store",
    "qcore_serializers": "serializer",
    "qcore_error_reporters": "error reporter",
    "qcore_schedule_stores": "schedule store",
    "qcore_schedulers": "scheduler",
    "qcore_task_runners": "runner of tasks",
    "qcore_coordination_stores": "coordination store",
    "qcore_urls": "URL scheme",
    "qcore_commands": "command",
    "qcore_checks": "check",
}
#: hooks in which SkipTask leaves the task out
_IN_PROGRAMS = "qcore_pre_enqueue"
_MAY_SKIP = frozenset({_IN_PROGRAMS, "qcore_pre_execute"})
_LIFECYCLE = frozenset(name for name in vars(hookspecs) if name.startswith("qcore_")) - KINDS.keys()


@attrs.frozen
class BoundHook:
    """A lifecycle hook whose fault is its own: it is logged and the task goes on."""

    plugin: str
    name: str
    function: Callable[..., Any]

    def __call__(self, event: Any, /) -> None:  # noqa: ANN401 - one class of event a hook
        """Run the hook; SkipTask gets out where it has a meaning."""
        try:
            self.function(event)
        except INTERRUPTS:
            raise
        except BaseException as error:
            # A user's program may stop what it runs, a hook of it too, by an exception of its own.
            stopped = self.name == _IN_PROGRAMS and not isinstance(error, (Exception, SystemExit))
            if stopped or (isinstance(error, SkipTask) and self.name in _MAY_SKIP):
                raise
            task = getattr(event, "task_id", None) or getattr(getattr(event, "task", None), "id", "-")
            _log.exception("hook failed: %s of plugin %s, task %s", self.name, self.plugin, task)


class Plugins:
    """What is installed, asked once; names lead to factories, hooks to tuples."""

    def __init__(self, plugins: Iterable[Plugin], blocked: Collection[str] = ()) -> None:
        self._manager = pluggy.PluginManager(installed.OURS)
        self._manager.add_hookspecs(hookspecs)
        for name in blocked:
            self._manager.set_blocked(name)
        self._plugins = list(plugins)
        for plugin in self._plugins:
            self._take_in(plugin)
        self._refuse_shadows()

    @classmethod
    def discover(
        cls,
        blocked: Collection[str] = (),
        *,
        extra: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Plugins:
        """Load every entry point of the group `qcore`, and the modules in `extra`.

        A plugin that cannot be loaded is remembered, and complained of when it may be the one
        that is asked for. Names in `blocked` or `QCORE_DISABLE_PLUGINS` are not loaded.
        A module in `extra` takes the place of an entry point of the same name.
        """
        installed.check_distribution()
        given = dict(extra or {})
        found = [plugin for plugin in installed.from_metadata() if plugin.name not in given]
        said = (os.environ if env is None else env).get("QCORE_DISABLE_PLUGINS", "")
        off = {*blocked, *(name.strip() for name in said.split(",") if name.strip())}
        plugins = cls([*found, *installed.by_hand(given)], off)
        names = {plugin.name for plugin in plugins.listing()}
        for name in sorted(off - names):
            _log.warning("no plugin named %r to switch off%s", name, wording.did_you_mean(name, names))
        return plugins

    @classmethod
    def of(cls, modules: Mapping[str, object]) -> Plugins:
        """Take in these modules and nothing that is installed."""
        return cls(installed.by_hand(modules))

    # -- what names lead to ---------------------------------------------------------------

    def find(self, hook: str, name: str) -> Any:  # noqa: ANN401 - `hookspecs` says what each hook offers
        """Return what is offered by a name through a registration hook: a factory, or a type.

        Raises:
            PluginError: nobody offers it, or two do; the message says what to do.

        """
        owners = [plugin for plugin in self._plugins if name in plugin.offers.get(hook, ())]
        if not owners:
            raise self.missing(KINDS[hook], name)
        if len(owners) > 1:
            titles = sorted(plugin.title for plugin in owners)
            raise PluginError(
                f"the {KINDS[hook]} {name!r} is offered by {' and '.join(titles)}; uninstall one of them, "
                f"or switch one off by name in QCORE_DISABLE_PLUGINS"
            )
        return owners[0].offers[hook][name]

    def reporter(self, name: str) -> Callable[..., ErrorReporter]:
        """Return the factory of an error reporter: a plugin's, else one that was written for Django-Q.

        Raises:
            PluginError: nobody offers it, or two do; the message says what to do.

        """
        if name not in self.names("qcore_error_reporters") and (adapted := django_q.find(name)):
            return adapted
        found: Callable[..., ErrorReporter] = self.find("qcore_error_reporters", name)
        return found

    def all(self, hook: str) -> dict[str, Any]:
        """Return everything that is offered through a registration hook, by name."""
        return {name: what for plugin in self._plugins for name, what in plugin.offers.get(hook, {}).items()}

    def default_broker(self) -> str:
        """Return the broker that is taken when none is named.

        Raises:
            PluginNotFound: no plugin offers one.

        """
        found = self.all("qcore_local_brokers")
        for name in found:
            if found[name](Settings(name="default")) is not None:
                return name
        raise PluginNotFound(
            "no broker is named, and no plugin offers one that needs no server; name one by its key, "
            f"such as redis{self.troubles()}"
        )

    def names(self, hook: str) -> frozenset[str]:
        """Return the names offered through a registration hook."""
        return frozenset(self.all(hook))

    def title(self, hook: str, name: str) -> str:
        """Return what messages call a thing: `the broker 'sqs' of the plugin sqs (qcore-sqs 26.11.0)`."""
        owner = next(plugin for plugin in self._plugins if name in plugin.offers.get(hook, ()))
        return f"the {KINDS[hook]} {name!r} of the plugin {owner.title}"

    def hooks(self, name: str) -> tuple[BoundHook, ...]:
        """Return the implementations of a lifecycle hook, in the order they run."""
        if name not in _LIFECYCLE:
            raise PluginError(f"no hook named {name!r}{wording.did_you_mean(name, _LIFECYCLE)}")
        caller: pluggy.HookCaller = getattr(self._manager.hook, name)
        return tuple(
            BoundHook(
                impl.plugin_name, name, impl.function if impl.argnames else _without_event(impl.function)
            )
            for impl in reversed(caller.get_hookimpls())
        )

    def listing(self) -> tuple[Plugin, ...]:
        """Return every plugin, usable or not, by name."""
        return tuple(sorted(self._plugins, key=lambda plugin: (plugin.name, plugin.distribution or "")))

    def troubles(self) -> str:
        """Say which plugins are broken or switched off, to end a message with; or nothing."""
        broken = [f"; could not be used: {p.title}: {p.broken}" for p in self.listing() if p.broken]
        return "".join(broken + [f"; switched off: {p.title}" for p in self.listing() if p.blocked])

    def suspect(self, name: str) -> Plugin | None:
        """Return the unusable plugin that would offer `name`, going by what it is called."""
        for plugin in self._plugins:
            if plugin.broken or plugin.blocked:
                if plugin.name == name or (
                    plugin.distribution and plugin.distribution == installed.distribution_of(name)
                ):
                    return plugin
        return None

    def missing(self, kind: str, name: str) -> PluginError:
        """Return the error for a name nobody offers, with what to do about it."""
        plugin = self.suspect(name)
        if plugin and plugin.broken:
            mend = installed.reinstall(plugin.distribution)
            return PluginBroken(f"the plugin {plugin.title} could not be used: {plugin.broken}{mend}")
        if plugin:
            return PluginNotFound(
                f"the plugin {plugin.title} is switched off; take it out of QCORE_DISABLE_PLUGINS"
            )
        choices = self.names(next(hook for hook, title in KINDS.items() if title == kind))
        hint = wording.did_you_mean(name, choices)
        if remedy := installed.remedy(name):
            hint = f"; {remedy}"
        return PluginNotFound(
            f"no {kind} named {name!r}; installed: {wording.listed(choices)}{hint}{self.troubles()}"
        )

    # -- how they get in ------------------------------------------------------------------

    def _take_in(self, plugin: Plugin) -> None:
        if self._manager.is_blocked(plugin.name):
            plugin.blocked = True
            return
        try:
            self._register(plugin, plugin.load())
        except PluginError as error:
            self._drop(plugin, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module raises
            _log.debug("plugin broken: %s", plugin.title, exc_info=True)
            self._drop(plugin, wording.reason(error))

    def _register(self, plugin: Plugin, module: object) -> None:
        if plugin.name == installed.BUILTIN and not plugin.ours:
            raise PluginError(f"the name {plugin.name!r} is qcore's own; give the entry point another name")
        if self._manager.is_registered(module):
            raise PluginError(f"it is the same module as the plugin {self._manager.get_name(module)!r}")
        installed.check_hooks(module)
        plugin.file, plugin.module = str(getattr(module, "__file__", None) or ""), module
        # Two distributions may use one name; what they offer is compared when it is asked for.
        self._manager.register(module, plugin.title if self._manager.has_plugin(plugin.name) else plugin.name)
        self._manager.check_pending()
        callers = self._manager.get_hookcallers(module) or []
        for caller in callers:
            for impl in caller.get_hookimpls() if caller.name in KINDS else ():
                if impl.plugin is module:
                    plugin.offers[caller.name] = _names(caller.name, impl.function())
        plugin.hooks = tuple(sorted(caller.name for caller in callers if caller.name in _LIFECYCLE))

    def _drop(self, plugin: Plugin, why: str) -> None:
        plugin.broken, plugin.offers, plugin.hooks = why, {}, ()
        # pluggy has None in the place of what is switched off
        if plugin.module is not None and self._manager.is_registered(plugin.module):
            self._manager.unregister(plugin.module)

    def _refuse_shadows(self) -> None:
        """Drop every plugin that wants the place of something built in."""
        built_in = {
            (hook, name) for p in self._plugins if p.ours for hook in p.offers for name in p.offers[hook]
        }
        for plugin in self._plugins:
            wanted = {(hook, name) for hook in plugin.offers for name in plugin.offers[hook]}
            for hook, name in sorted(wanted & built_in) if not plugin.ours else ():
                self._drop(
                    plugin, f"it offers the {KINDS[hook]} {name!r}, which is built in; give it another name"
                )


def _names(hook: str, offered: object) -> dict[str, Any]:
    """Return what a registration hook answered, if it is a table of names."""
    if not isinstance(offered, Mapping) or not all(isinstance(name, str) and name for name in offered):
        raise PluginError(f"its hook {hook!r} returned {wording.shown(offered)}; it must be a dict of names")
    return dict(offered)


def _without_event(function: Callable[[], Any]) -> Callable[[Any], Any]:
    """Let a hook that declares no argument be called with one, as pluggy allows."""
    return lambda _event: function()

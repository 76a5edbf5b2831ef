"""What must hold between settings, and between settings and plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore import installed, wording
from qcore.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from qcore.interfaces import Capabilities
    from qcore.plugins import Plugins
    from qcore.settings.options import Options

#: settings of later versions of the specification's library, and what to do instead
_FORMER: Final = {
    "ALT_CLUSTERS": "write a configuration for each queue",
    "cluster_name": "a queue has one name: set name",
    "testing": "use qcore.testing",
}


def broker_of(options: Options, given: Collection[str], plugins: Plugins) -> tuple[str, list[str]]:
    """Return what the broker is chosen by, and what is wrong with the choice.

    `given` are the plugins' keys in the configuration. A key that is needed for results only
    is told from the broker's by `result_store`.
    """
    if options.broker_class:
        return options.broker_class, []
    found = sorted(plugins.names("qcore_brokers") & set(given))
    if len(found) > 1 and options.result_store in found:
        found.remove(options.result_store)
    if len(found) > 1:
        return found[0], [
            f"{_choice(found)}; keep one, and if another only stores results, name it in result_store"
        ]
    try:
        chosen = found[0] if found else plugins.default_broker()
    except PluginError as error:
        return "", [str(error)]
    return chosen, list(_missing(chosen, plugins.broker, chosen))


def between(options: Options, broker: str, bad: Collection[str], plugins: Plugins) -> Iterator[str]:
    """Yield what is wrong between settings, leaving out those in `bad`, whose values are not known."""
    if not {"timeout", "retry", "renew_leases"} & set(bad) and not options.renew_leases:
        yield from _lease(options, "with renew_leases off", "set renew_leases = true")
    if "secret_key" not in bad and not options.secret_key and broker not in plugins.local_brokers():
        yield (
            f"secret_key: missing; every process that uses the broker {broker!r} must have the same key: "
            "make one with 'qcore keys new' and set secret_key or QCORE_SECRET_KEY"
        )
    for name in options.error_reporter:
        yield from _missing(f"error_reporter.{name}", plugins.error_reporter, name)
    if options.result_store is not None:
        yield from _missing(
            _got("result_store", options.result_store), plugins.result_store, options.result_store
        )
    if not {"serializer", "accept_serializers"} & set(bad):
        yield from _serializers(options, plugins)


def safety(options: Options, plugins: Plugins) -> Iterator[str]:
    """Yield a fault if the serializer can run code and `accept_serializers` was left to its default."""
    try:
        unsafe = plugins.serializer(options.serializer)().unsafe
    except PluginError:
        return  # `between` tells of it
    except Exception as error:  # noqa: BLE001 - whatever a stranger's factory raises
        yield f"{_got('serializer', options.serializer)}; it cannot be made: {wording.reason(error)}"
        return
    if unsafe:
        yield (
            f"accept_serializers: missing; {options.serializer!r} can run any code when it is read: choose "
            "another serializer, or trust whoever holds the key and set "
            f"accept_serializers = [{options.serializer!r}]"
        )


def broker(options: Options, name: str, capabilities: Capabilities) -> Iterator[str]:
    """Yield what the broker in use cannot do that the settings ask for."""
    if capabilities.receipts and not options.retry:
        yield (
            f"{_got('retry', options.retry)}; the broker {name!r} presents a message again, so it has to know"
            " after how many seconds: leave it out for 60"
        )
    if capabilities.receipts and not capabilities.extend:
        yield from _lease(options, f"with {name!r}, which cannot prolong a lease,", "lower timeout")
    if options.bulk is not None and options.bulk > capabilities.bulk:
        yield f"{_got('bulk', options.bulk)}; the broker {name!r} gives at most {capabilities.bulk} at once"


def unknown(key: str, known: Collection[str], plugins: Plugins, origin: str) -> str:
    """Return what is wrong with a key that is neither a setting nor a plugin's."""
    if key in _FORMER:
        return f"{key}: not a setting of qcore; {_FORMER[key]}"
    if plugins.suspect(key):
        return f"{key}: {plugins.missing('setting', key)}"
    if distribution := installed.distribution_of(key):
        return f"{key}: no installed plugin offers it; pip install {distribution}{plugins.troubles()}"
    names = {*known, *plugins.settings(), *plugins.names("qcore_brokers"), *installed.KNOWN}
    hint = wording.did_you_mean(key, names) or "; no plugin that is installed offers it"
    return f"{key}: unknown setting{origin and f' from {origin}'}{hint}{plugins.troubles()}"


def _lease(options: Options, when: str, remedy: str) -> Iterator[str]:
    if options.timeout is not None and 0 < options.retry <= options.timeout:
        yield (
            f"{_got('timeout', options.timeout)}; {when} it must be less than retry ({options.retry:g}), "
            f"or a long task is run twice: {remedy}, or raise retry above {options.timeout:g}"
        )


def _serializers(options: Options, plugins: Plugins) -> Iterator[str]:
    names = dict.fromkeys(options.accept_serializers, "accept_serializers") | {
        options.serializer: "serializer"
    }
    for name, path in names.items():
        yield from _missing(_got(path, name), plugins.serializer, name)
    if options.serializer not in options.accept_serializers:
        yield (
            f"accept_serializers: got {[*options.accept_serializers]}; it must hold the serializer too, or "
            f"nothing that is enqueued here can be read: add {options.serializer!r}, or change serializer"
        )


def _choice(found: list[str]) -> str:
    return f"{found[0]}: there are {len(found)} brokers: {wording.listed(found)}"


def _got(path: str, value: object) -> str:
    return f"{path}: got {wording.shown(value, path)}"


def _missing(path: str, find: Callable[[str], object], name: str) -> Iterator[str]:
    try:
        find(name)
    except PluginError as error:
        yield f"{path}{'; ' if ': got ' in path else ': '}{error}"

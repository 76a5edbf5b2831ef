"""Checks settings against each other and against plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore import installed
from qcore.errors import ConfigError, PluginError
from qcore_reports.policy import Policy
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qcore.interfaces import Capabilities
    from qcore.plugins import Plugins
    from qcore.settings.options import Options

#: bytes; the default is above what some brokers take, which they refuse themselves
_DEFAULT_MAX_MESSAGE: Final = 8 << 20
#: characters of the name of a queue with an outbox, whose own name is longer
MAX_OUTBOX_NAME: Final = 80 - len(":outbox")
#: settings of later versions of Django-Q that qcore does not have, and what to do instead
_NOT_HERE: Final = {
    "broker": 'a broker is chosen by its section, such as redis = "redis://HOST"',
    "ALT_CLUSTERS": "write a configuration for each queue",
    "cluster_name": "a queue has one name: set name",
    "testing": "use qcore.testing",
}


def broker_of(options: Options, given: Collection[str], plugins: Plugins) -> tuple[str, list[str]]:
    """Return the name of the chosen broker, and the problems with the choice.

    `given` are the plugins' keys in the configuration. `result_store`,
    `coordination_store` and `outbox` tell which of them only store.
    """
    if options.broker_class:
        return options.broker_class, []
    found = sorted(plugins.names("qcore_brokers") & set(given))
    for store in dict.fromkeys((options.result_store, options.coordination_store, options.outbox)):
        if len(found) > 1 and store in found:
            found.remove(store)
    if len(found) > 1:
        remedy = "keep one; name another that only stores in result_store, coordination_store or outbox"
        return found[0], [f"{_choice(found)}; {remedy}"]
    try:
        chosen = found[0] if found else plugins.default_broker()
    except PluginError as error:
        return "", [str(error)]
    return chosen, list(_missing(chosen, plugins, "qcore_brokers", chosen))


def between(options: Options, broker: str, invalid: Collection[str], plugins: Plugins) -> Iterator[str]:
    """Yield the problems between settings, except those in `invalid`, which have no valid value."""
    if not {"timeout", "retry", "renew_leases"} & set(invalid) and not options.renew_leases:
        yield from _lease(options, "with renew_leases off", "set renew_leases = true")
    if (
        "secret_key" not in invalid
        and not options.secret_key
        and broker not in plugins.all("qcore_local_brokers")
    ):
        yield (
            f"secret_key: missing; every process that uses the broker {broker!r} must have the same key: "
            f"make one with '{wording.typed('keys new')}' and set secret_key or QCORE_SECRET_KEY"
        )
    if not {"at_most_once", "max_attempts"} & set(invalid):
        yield from _repetition(options)
    for name, settings in options.error_reporter.items():
        try:
            plugins.reporter(name)
            Policy.read(name, settings)
        except PluginError as error:
            yield f"error_reporter.{name}: {error}"
        except ConfigError as error:
            yield from error.problems
    if options.result_store is not None:
        path = _got("result_store", options.result_store)
        yield from _missing(path, plugins, "qcore_result_stores", options.result_store)
    if options.coordination_store is not None:
        path = _got("coordination_store", options.coordination_store)
        yield from _missing(path, plugins, "qcore_coordination_stores", options.coordination_store)
    if options.outbox is not None:
        yield from _outbox(options, broker, plugins)
    if not {"serializer", "accept_serializers"} & set(invalid):
        yield from _serializers(options, plugins)


def safety(options: Options, plugins: Plugins) -> Iterator[str]:
    """Yield a problem if the serializer can run code and `accept_serializers` was not set."""
    try:
        unsafe = plugins.find("qcore_serializers", options.serializer)().unsafe
    except PluginError:
        return  # `between` reports it
    except Exception as error:  # noqa: BLE001 - a plugin's factory may raise anything
        yield f"{_got('serializer', options.serializer)}; it cannot be created: {wording.reason(error)}"
        return
    if unsafe:
        yield (
            f"accept_serializers: missing; {options.serializer!r} can run any code when it reads a message:"
            " choose another serializer, or trust everyone who has the key and set "
            f"accept_serializers = [{options.serializer!r}]"
        )


def broker(options: Options, name: str, capabilities: Capabilities) -> Iterator[str]:
    """Yield the problems between the settings and what the broker can do."""
    if capabilities.redelivers and not options.retry:
        yield (
            f"{_got('retry', options.retry)}; the broker {name!r} redelivers a message, so it must know after"
            " how many seconds: leave it out for 60"
        )
    if capabilities.redelivers and not capabilities.extend:
        yield from _lease(options, f"with {name!r}, which cannot extend a lease,", "lower timeout")
    if options.bulk is not None and options.bulk > capabilities.max_batch:
        most = capabilities.max_batch
        yield f"{_got('bulk', options.bulk)}; the broker {name!r} leases at most {most} at once"
    if options.queues is not None and not capabilities.queues:
        declare = f"declare queues by {capabilities.declared_by}, or " if capabilities.declared_by else ""
        yield (
            f"{_got('queues', options.queues)}; the broker {name!r} has one queue for each name: "
            f"{declare}leave it out, and give each kind of task a name of its own"
        )
    limit = capabilities.max_bytes
    if limit is not None and options.max_message > max(limit, _DEFAULT_MAX_MESSAGE):
        yield (
            f"{_got('max_message', options.max_message)}; the broker {name!r} takes {limit} bytes at most: "
            "leave it out, and pass references to larger data"
        )


def unknown(key: str, known: Collection[str], plugins: Plugins, origin: str) -> str:
    """Return the problem with a key that is neither a setting nor a plugin's."""
    if key in _NOT_HERE:
        return f"{key}: not a setting of qcore; {_NOT_HERE[key]}"
    if plugins.suspect(key):
        return f"{key}: {plugins.missing('setting', key)}"
    if remedy := installed.remedy(key):
        return f"{key}: no installed plugin offers it; {remedy}{plugins.troubles()}"
    names = {*known, *plugins.names("qcore_settings"), *plugins.names("qcore_brokers"), *installed.KNOWN}
    hint = wording.did_you_mean(key, names) or "; no installed plugin offers it"
    return f"{key}: unknown setting{origin and f' from {origin}'}{hint}{plugins.troubles()}"


def _lease(options: Options, when: str, remedy: str) -> Iterator[str]:
    if options.timeout is not None and 0 < options.retry <= options.timeout:
        yield (
            f"{_got('timeout', options.timeout)}; {when} it must be less than retry ({options.retry:g}), "
            f"or a long task runs twice: {remedy}, or raise retry above {options.timeout:g}"
        )


def _repetition(options: Options) -> Iterator[str]:
    if options.at_most_once and options.max_attempts > 1:
        yield (
            f"{_got('max_attempts', options.max_attempts)}; at_most_once excludes a second run: leave one of "
            "the two out, or set at_most_once per task"
        )


def _serializers(options: Options, plugins: Plugins) -> Iterator[str]:
    names = dict.fromkeys(options.accept_serializers, "accept_serializers") | {
        options.serializer: "serializer"
    }
    for name, path in names.items():
        yield from _missing(_got(path, name), plugins, "qcore_serializers", name)
    if options.serializer not in options.accept_serializers:
        yield (
            f"accept_serializers: got {[*options.accept_serializers]}; it must contain the serializer, or "
            f"no worker can read what is enqueued here: add {options.serializer!r}, or change serializer"
        )


def _outbox(options: Options, broker: str, plugins: Plugins) -> Iterator[str]:
    path = _got("outbox", options.outbox)
    yield from _missing(path, plugins, "qcore_brokers", options.outbox or "")
    if options.outbox == broker:
        yield f"{path}, which is the broker: tasks join your transactions without an outbox; leave it out"
    if len(options.name) > MAX_OUTBOX_NAME:
        yield f"{_got('name', options.name)}; with an outbox it has at most {MAX_OUTBOX_NAME} characters"


def _choice(found: list[str]) -> str:
    return f"{found[0]}: there are {len(found)} brokers: {wording.listed(found)}"


def _got(path: str, value: object) -> str:
    return f"{path}: got {wording.shown(value, path)}"


def _missing(path: str, plugins: Plugins, hook: str, name: str) -> Iterator[str]:
    try:
        plugins.find(hook, name)
    except PluginError as error:
        yield f"{path}{'; ' if ': got ' in path else ': '}{error}"

"""What `manage.py check` says about the queue of a site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings as site
from django.core.checks import Error, Warning, register  # noqa: A004 - Django's own name

from qcore.errors import BackendError, ConfigError, PluginError, QueueMissing
from qcore.plugins import Plugins
from qcore.runtime import Runtime
from qcore_django import settings
from qcore_django.cached_results import shared_cache
from qcore_queues.names import DEFAULT_QUEUE
from qcore_settings import keyfile
from qcore_text.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.core.checks import CheckMessage

    from qcore import Config

#: the tag of these checks: `manage.py check --tag qcore`
TAG: Final = "qcore"
#: the backend of Django's tasks, in the settings
_BACKEND: Final = "qcore_django.backend.QcoreBackend"


def register_checks() -> None:
    """Have Django run the checks; those of a server only with `--deploy`."""
    register(check_settings, TAG)
    register(check_deployment, TAG, deploy=True)


def check_settings(**_: Any) -> list[CheckMessage]:
    """Look at `Q_CLUSTER`, and ask no server.

    E001: a setting is wrong; a broker's package is missing, or there are two brokers.
    W001: a key is not a setting.
    W004: a key of Django-Q's decides nothing here.
    W005: results are to be in a cache that each process has for itself.
    """
    plugins = Plugins.discover()
    try:
        table = settings.cluster_table()
        settings.read(plugins)
    except ConfigError as exc:
        return [Error(one, id="qcore_django.E001") for one in exc.problems]
    except PluginError as exc:
        return [Error(str(exc), id="qcore_django.E001")]
    return [
        *(Warning(one, id="qcore_django.W001") for one in settings.unknown(table, plugins)),
        *(Warning(one, id="qcore_django.W004") for one in settings.idle(table)),
        *_caches_of_processes(table),
    ]


def _caches_of_processes(table: Mapping[str, Any]) -> Iterator[Warning]:
    if not (table.get("cached") or table.get("cache")) or shared_cache() is not None:
        return
    alias = settings.cache_alias()
    text = (
        f"the cache {alias!r} is one that each process has for itself ({site.CACHES[alias]['BACKEND']}), so "
        "results with `cached` are stored with the queue"
    )
    hint = 'Name one that all processes share, such as that of a Redis, in "cache" of Q_CLUSTER.'
    yield Warning(text, hint=hint, id="qcore_django.W005")


def check_deployment(**_: Any) -> list[CheckMessage]:
    """Look at what a queue needs of its broker and its keys in production.

    E002: the broker does not answer, or it and the settings do not fit, such as timeout and retry.
    E004: TASKS has several queues, and the broker has one.
    W002: no broker is named.
    W003: a key of the site is too weak to sign what workers run.
    """
    plugins = Plugins.discover()
    try:
        config = settings.read(plugins)
    except (ConfigError, PluginError):
        # `check_settings` says why.
        return []
    found = list(_broker_problems(config, plugins))
    if config.broker not in config.raw and not config.broker_class:
        queue = config.queue_file(config.name)
        text = "Q_CLUSTER names no broker, so that the queue is in a file of this user on this machine"
        hint = f'It is {queue}. Name one, such as "orm": "default", if others enqueue or work too.'
        found.append(Warning(text, hint=hint, id="qcore_django.W002"))
    if "secret_key" not in settings.cluster_table():
        found += [Warning(one, id="qcore_django.W003") for one in _weak_keys()]
    return found


def _broker_problems(config: Config, plugins: Plugins) -> Iterator[CheckMessage]:
    runtime = Runtime(config, plugins)
    try:
        # It is not made here: a check leaves everything as it is.
        broker = runtime.make_broker(create=False)
    except QueueMissing:
        return
    except ConfigError as exc:
        yield from map(_unfit, exc.problems)
        return
    except BackendError as exc:
        yield _unfit(f"the broker {config.broker!r} cannot be used: {exc}")
        return
    try:
        broker.ping()
        look: Callable[..., str] | None = plugins.all("qcore_checks").get(config.broker)
        if look is not None:
            look(config.settings())
    except BackendError as exc:
        yield _unfit(f"the broker {config.broker!r} does not answer: {exc}")
    except Exception as exc:  # noqa: BLE001 - how a plugin's check says that it fails
        yield _unfit(f"the broker {config.broker!r}: {exc}")
    finally:
        broker.close()
    if not broker.capabilities.queues:
        yield from _queues_of_tasks(config.broker)


def _unfit(text: str) -> Error:
    return Error(text, id="qcore_django.E002")


def _queues_of_tasks(broker: str) -> Iterator[Error]:
    """Yield an error for each backend of Django's tasks with queues that a broker with one has not."""
    for alias, params in getattr(site, "TASKS", {}).items():
        others = sorted(map(str, {*params.get("QUEUES", ())} - {DEFAULT_QUEUE}))
        if params.get("BACKEND") == _BACKEND and others:
            text = (
                f"TASKS[{alias!r}] has the queue {listed(others)} in QUEUES, and the broker {broker!r} has "
                "one queue"
            )
            hint = 'Leave it out, and make a backend for each kind of task, with "cluster" in its OPTIONS.'
            yield Error(text, hint=hint, id="qcore_django.E004")


def _weak_keys() -> Iterator[str]:
    for number, key in enumerate((site.SECRET_KEY, *site.SECRET_KEY_FALLBACKS)):
        name = f"SECRET_KEY_FALLBACKS[{number - 1}]" if number else "SECRET_KEY"
        why = keyfile.problem_of(key) if isinstance(key, str) else ""
        if why and not key.startswith(keyfile.FILE):
            yield f"{name} signs what workers run, and {why}"

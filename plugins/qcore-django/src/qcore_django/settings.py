"""Reads the configuration of a queue from Django settings."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from django.conf import settings
from django.db import connections
from django.utils.crypto import salted_hmac

from qcore import Config, installed
from qcore.errors import ConfigError
from qcore.plugins import Plugins
from qcore.settings import options
from qcore_django.caches import check_cache, redis_of
from qcore_django.queue_names import queue_name
from qcore_settings import keyfile
from qcore_text import wording

_log = logging.getLogger("qcore.config")

#: the settings of Django that are read; a change of one takes effect at the next use
READ: Final = frozenset(
    {"CACHES", "LOGGING", "Q_CLUSTER", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "TIME_ZONE", "USE_TZ"}
)
#: the title of the admin's section on a site that names none
LABEL: Final = "Django Q"
#: the name of the cluster on a site that names none
DEFAULT: Final = "default"
#: the variable that names the cluster, and so its queue
CLUSTER: Final = "Q_CLUSTER_NAME"
#: imported in each worker before anything of the site's
WORKER_SETUP: Final = "qcore_django.worker_setup"
#: tasks of ours that call another by its name, and ask `tasks_allowed` for that name
CHECKED: Final = ("qcore_django.hooks.called.*", "qcore_django.backend.runs.*")
#: keys that Django-Q reads and that decide nothing here -> what is true instead; empty = what the key
#: asks for: no read ever goes to a replica
WITHOUT_EFFECT: Final = {
    "has_replica": "",
    "testing": "tests of a site use `qcore_django.testing`",
}
#: keys that are read here, and not by `Config`
_OURS: Final = frozenset({"ALT_CLUSTERS", "cache", "cluster_name", "django_redis", *WITHOUT_EFFECT})
#: the cache that has results with `cached`, on a site that names none
_CACHE: Final = "default"


def load(plugins: Plugins | None = None) -> Config:
    """Return the configuration that the settings of this site make, and log which keys have no effect.

    Raises:
        ConfigError: with all problems.

    """
    plugins = plugins or Plugins.discover()
    table = cluster_table()
    for problem in [*unknown(table, plugins), *idle(table), *led_astray(table)]:
        _log.warning("%s", problem)
    return read(plugins)


def read(plugins: Plugins) -> Config:
    """Return the configuration, without a word about keys that have no effect.

    Raises:
        ConfigError: with all problems.

    """
    table = cluster_table()
    foreign = unknown_keys(table, plugins)
    own = {key: value for key, value in table.items() if key not in _OURS and key not in foreign}
    alias = table.get("django_redis")
    if alias is not None and "redis" not in own:
        own["redis"] = redis_of(alias)
    check_cache(table)
    _check_database(own.get("orm"))
    made = {"preload": _preload(own.get("preload"))}
    if isinstance(allowed := own.get("tasks_allowed"), list | tuple):
        made["tasks_allowed"] = [*allowed, *CHECKED]
    config = Config.from_dict({**_defaults(), **own, **made}, plugins)
    origin = "" if "secret_key" in own else "SECRET_KEY of the Django settings"
    return attrs.evolve(config, file=_file(), key_origin=origin)


def cluster_table() -> dict[str, Any]:
    """Return `Q_CLUSTER`, with what `ALT_CLUSTERS` has for the cluster that `Q_CLUSTER_NAME` names.

    Its `name` is that of the queue.

    Raises:
        ConfigError: one of them is not a dict.

    """
    table = _given()
    others = _dict("ALT_CLUSTERS", table.get("ALT_CLUSTERS"))
    name = cluster_name()
    if name != main_cluster():
        # By the name of its queue too, which is what logs and commands show.
        found = next((one for one in others if queue_name(str(one)) == queue_name(name)), None)
        own = _dict(f"ALT_CLUSTERS[{found!r}]", None if found is None else others[found])
        table.update({key: value for key, value in own.items() if key not in {"name", "cluster_name"}})
    table["name"] = queue_name(name) if isinstance(name, str) else name
    return table


def cluster_name() -> Any:  # noqa: ANN401 - Config reports what is not a text
    """Return the name of this process's cluster, as the site has it: a name of Django-Q may be any text."""
    table, main = _given(), main_cluster()
    given = os.environ.get(CLUSTER)
    # As in Django-Q, the name of the site means its main cluster, whose queue `cluster_name` may name.
    own = [queue_name(one) for one in (main, table.get("name") or DEFAULT) if isinstance(one, str)]
    return given if given and queue_name(given) not in own else main


def main_cluster() -> Any:  # noqa: ANN401 - as above
    """Return the name of the site's main cluster, whatever `Q_CLUSTER_NAME` is."""
    table = _given()
    return table.get("cluster_name") or table.get("name") or DEFAULT


@contextmanager
def as_main_cluster() -> Iterator[None]:
    """Have `Q_CLUSTER_NAME` select nothing in a block."""
    given = os.environ.pop(CLUSTER, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[CLUSTER] = given


def unknown_keys(table: Mapping[str, Any], plugins: Plugins) -> list[str]:
    """Return the keys of a table that neither qcore nor a plugin, installed or not, would read."""
    known = {
        *options.every(),
        *plugins.names("qcore_settings"),
        *plugins.names("qcore_brokers"),
        *installed.KNOWN,
        *_OURS,
    }
    # A key that is not a text is a problem that Config reports.
    return sorted(key for key in map(str, table) if key in table and key not in known)


def unknown(table: Mapping[str, Any], plugins: Plugins) -> list[str]:
    """Return a sentence for each key that has no effect."""
    names = {*options.every(), *plugins.names("qcore_settings"), *installed.KNOWN, *_OURS}
    return [
        f"Q_CLUSTER[{key!r}] is not a setting, and has no effect{wording.did_you_mean(key, names)}"
        for key in unknown_keys(table, plugins)
    ]


def idle(table: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key of Django-Q's that decides nothing here, and what does."""
    return [
        f"Q_CLUSTER[{key!r}] has no effect: {instead}"
        for key, instead in WITHOUT_EFFECT.items()
        if instead and table.get(key)
    ]


def led_astray(table: Mapping[str, Any]) -> list[str]:
    """Return a sentence if `Q_CLUSTER_NAME` names none of the clusters that the site has."""
    others, name = table.get("ALT_CLUSTERS") or {}, cluster_name()
    if not others or name == main_cluster():
        return []
    names = [str(one) for one in others]
    if table["name"] in map(queue_name, names):
        return []
    said = (
        f"{CLUSTER} is {name!r}, which is not in ALT_CLUSTERS: what this process enqueues goes to the queue"
        f" {table['name']!r}{wording.did_you_mean(name, names)}"
    )
    return [said]


def cache_alias() -> str:
    """Return the name of the cache that has results with `cached`."""
    found = getattr(settings, "Q_CLUSTER", None)
    return str(found.get("cache") or _CACHE) if isinstance(found, Mapping) else _CACHE


def label() -> str:
    """Return the title of the admin's section."""
    found = getattr(settings, "Q_CLUSTER", None)
    return str(found.get("label") or LABEL) if isinstance(found, Mapping) else LABEL


def keys() -> list[str]:
    """Return what signs and verifies messages: the keys of the site, in their order.

    Django takes keys that are too short for qcore. Such a key signs as a digest of itself, and is no
    harder to guess for that; `manage.py check --deploy` says so.
    """
    return [_usable(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


def _usable(key: str | bytes) -> str:
    if isinstance(key, str) and not keyfile.problem_of(key) and not key.startswith(keyfile.FILE):
        return key
    digest: str = salted_hmac("qcore_django.settings", "", secret=key, algorithm="sha256").hexdigest()
    return digest


def _defaults() -> dict[str, Any]:
    """Return what a site says by other settings than `Q_CLUSTER`."""
    # Callbacks and the admin of Django-Q read the arguments of a task.
    found: dict[str, Any] = {"label": LABEL, "secret_key": keys(), "keep_arguments": True}
    # Without USE_TZ the site's times are naive, and mean this zone too.
    if settings.TIME_ZONE:
        found["time_zone"] = settings.TIME_ZONE
    logging_table = settings.LOGGING if isinstance(settings.LOGGING, Mapping) else {}
    level = logging_table.get("loggers", {}).get("qcore", {}).get("level")
    return found if level is None else {**found, "log_level": level}


def _preload(given: object) -> object:
    """Return the modules that workers import, what sets Django up before all."""
    if given is None:
        return [WORKER_SETUP]
    if isinstance(given, str):
        return [WORKER_SETUP, given]
    # Config reports what is not a list.
    return [WORKER_SETUP, *given] if isinstance(given, list | tuple) else given


def _given() -> dict[str, Any]:
    return _dict("Q_CLUSTER", getattr(settings, "Q_CLUSTER", None))


def _dict(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError([f"{name}: got an object of type {type(value).__name__}; it must be a dict"])


def _check_database(alias: object) -> None:
    """See that there is the database that the key `orm` names; another kind of value `Config` reports."""
    there = connections.settings
    if isinstance(alias, str) and alias and alias not in there:
        hint = wording.did_you_mean(alias, there) or f"; DATABASES has {wording.listed(there)}"
        raise ConfigError([f"orm: got {alias!r}; there is no database of this name{hint}"])


def _file() -> Path | None:
    """Return the file of the site's settings, None if they were made by `settings.configure`."""
    module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file)

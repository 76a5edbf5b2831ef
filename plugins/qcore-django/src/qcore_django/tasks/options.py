"""Which keyword arguments are options, and what becomes of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.errors import NotSupported
from qcore.tasks.django_q import DJANGO_Q_OPTIONS, options_from_django_q
from qcore.tasks.task import bind
from qcore_django.cached_results import seconds_of
from qcore_django.delivery import Through, at_commit, in_cache
from qcore_django.hooks import hook_for
from qcore_django.queue_names import queue_name
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qcore import App
    from qcore.interfaces import Broker
    from qcore.tasks.call import Call, Options
    from qcore.tasks.task import Producer

#: Django-Q's letters for types of schedules
SCHEDULE_TYPES: Final = {
    "O": "once", "I": "minutes", "H": "hourly", "D": "daily", "W": "weekly", "BW": "biweekly", "M": "monthly",
    "BM": "bimonthly", "Q": "quarterly", "Y": "yearly", "C": "cron",
}  # fmt: skip
#: options of the first link of `chain=` that are the others' too
ALL_LINKS: Final = frozenset({"group", "cached", "sync"})
#: the same where the cache keeps the results, so that the store does not
CACHED_LINKS: Final = ALL_LINKS | {"save"}
#: what is taken out of keyword arguments
_LIFTED: Final = DJANGO_Q_OPTIONS | {"on_commit"}


@attrs.frozen(kw_only=True)
class Given:
    """How one call is enqueued: by a broker of the caller's, at a commit, or as always."""

    broker: Broker | None
    #: the alias of the database whose commit is waited for; empty = none
    database: str
    #: seconds for which the cache keeps its result, 0 = for ever; None = the store keeps it
    cached: float | None = None

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Given:
        """Take `broker` and `on_commit` out of options; a task that runs now needs no broker.

        What the cache keeps the store does not.
        """
        broker, commit = options.pop("broker", None), options.pop("on_commit", None)
        if broker is not None and commit:
            msg = "on_commit= enqueues by the broker of the site, not by broker=; leave one of them out"
            raise NotSupported(msg)
        database = "default" if commit is True else str(commit or "")
        if options.get("cached") is None and (always := app.config.cached):
            options["cached"] = always
        cached = seconds_of(options.get("cached"))
        if cached is not None:
            options["save"] = False
        return cls(broker=None if options.get("sync") else broker, database=database, cached=cached)

    def producer(self, app: App) -> Producer:
        """Return what enqueues."""
        return app if self.broker is None else Through(app, self.broker)

    @property
    def of_links(self) -> frozenset[str]:
        """Return the options of the first link of `chain=` that are the others' too."""
        return ALL_LINKS if self.cached is None else CACHED_LINKS

    @contextmanager
    def delivering(self, only: str = "") -> Iterator[None]:
        """Have what is enqueued in this block wait for the commit and be cached, if that was asked for.

        With `only` the results of the tasks of that name are cached.
        """
        with at_commit(self.database), in_cache(self.cached, only):
            yield


def lifted(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options among keyword arguments, and the arguments left for the function."""
    left = dict(kwargs)
    options = dict(left.pop("q_options", None) or {})
    # Of this one alone the plain argument wins, as in Django-Q.
    if "task_name" in left:
        options["task_name"] = left.pop("task_name") or options.get("task_name")
    for key in _LIFTED:
        if key in left and key not in options:
            options[key] = left.pop(key)
    return options, left


def options_of(given: Mapping[str, Any]) -> Options:
    """Return Django-Q's options as ours; a callback is given what Django-Q gave it."""
    hook, cluster = given.get("hook"), given.get("cluster")
    queue = queue_name(cluster) if isinstance(cluster, str) else cluster
    return options_from_django_q(
        {**given, "hook": None if hook is None else hook_for(hook), "cluster": queue}
    )


def link_of(step: Any, above: Mapping[str, Any]) -> Call:  # noqa: ANN401 - see `_parts`
    """Return a link of a chain with its own options, and those that are the chain's."""
    function, args, kwargs = _parts(step)
    options, kwargs = lifted(kwargs)
    for key in ("broker", "chain", "on_commit"):
        options.pop(key, None)  # the chain's
    return bind(function, tuple(args), kwargs, options_of({**options, **above}), checked=False)


def _parts(step: Any) -> tuple[Callable[..., Any] | str, Sequence[Any], Mapping[str, Any]]:  # noqa: ANN401 - see there
    """Return a link of a chain: a function, (function, args) or (function, args, kwargs)."""
    if not isinstance(step, tuple | list):
        return step, (), {}
    function, args, kwargs = (*step, (), {})[:3] if len(step) < 3 else step
    return function, args or (), kwargs or {}

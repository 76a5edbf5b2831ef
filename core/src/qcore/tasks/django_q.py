"""What the options of Django-Q mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from qcore.errors import NotSupported
from qcore.tasks.call import DEFAULT, Options
from qcore_values.validators import NUMBER, seconds, text, text_or_int

if TYPE_CHECKING:
    from collections.abc import Mapping

#: the keys that `async_task` takes out of its keyword arguments
DJANGO_Q_OPTIONS: Final = frozenset(
    {
        "group",
        "save",
        "sync",
        "cached",
        "ack_failure",
        "timeout",
        "task_name",
        "broker",
        "hook",
        "chain",
        "iter_count",
        "iter_cached",
        "cluster",
    }
)
#: what Django-Q's own functions pass among themselves
_NOT_YET: Final = frozenset({"iter_count", "iter_cached"})


def lift_options(
    q_options: Mapping[str, Any] | None, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Django-Q's options, those among keyword arguments included, and the other arguments."""
    options = dict(q_options or {})
    lifted = [key for key in DJANGO_Q_OPTIONS if key in kwargs and key not in options]
    options |= {key: kwargs[key] for key in lifted}
    return options, {key: value for key, value in kwargs.items() if key not in lifted}


def options_from_django_q(given: dict[str, Any]) -> Options:
    """Return Django-Q's options as ours.

    Raises:
        NotSupported: qcore does not have this option.
        TypeError: there is no such option; the message lists those there are.

    """
    refused = sorted(key for key in given.keys() & _NOT_YET if given[key] not in (None, False))
    if refused:
        msg = f"async_task: the option {refused[0]!r} is not offered by this version of qcore"
        raise NotSupported(msg)
    unknown = sorted(given.keys() - DJANGO_Q_OPTIONS)
    if unknown:
        known = ", ".join(sorted(DJANGO_Q_OPTIONS - _NOT_YET))
        msg = f"async_task: no option {unknown[0]!r} in q_options; there are {known}"
        raise TypeError(msg)
    plain = ("group", "save", "sync", "ack_failure", "hook")
    changes: dict[str, Any] = {key: given[key] for key in plain if given.get(key) is not None}
    if given.get("cluster") is not None:
        text("cluster", given["cluster"])
        changes["cluster"] = given["cluster"]
    if "group" in changes:
        changes["group"] = text_or_int("group", changes["group"])
    if "timeout" in given:
        changes["timeout"] = _unlimited(given["timeout"])
    if given.get("task_name") is not None:
        changes["label"] = text_or_int("task_name", given["task_name"])
    cached = given.get("cached")
    if cached is not None and cached is not False:
        changes["result_ttl"] = _kept(cached)
    return Options(**changes) if changes else DEFAULT


def _unlimited(timeout: object) -> object:
    """Return None for a number below 0, which is Django-Q's way to say "no limit"."""
    return None if isinstance(timeout, NUMBER) and timeout < 0 else timeout


def _kept(cached: object) -> float:
    """Return for how many seconds Django-Q's `cached` keeps a result."""
    if cached is True:
        return 0.0
    seconds("cached", cached)
    return float(cast("float", cached))

"""What the functions of Django-Q become."""

from __future__ import annotations

import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from qcore.app import App
from qcore.flows.app_api import collected
from qcore.messages.workflow import COLLECTED
from qcore.tasks.call import merge_options, with_options
from qcore.tasks.django_q import DJANGO_Q_OPTIONS, options_from_django_q
from qcore.tasks.task import Sender
from qcore_names.resolve import name_of
from qcore_values.data import as_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from qcore.model import Result, Schedule
    from qcore.tasks.call import Options

#: seconds of one wait, if the caller waits without limit
_LONG: Final = 3600.0
#: characters of a function's name in the name of its schedule, which has 200 at most
_SHOWN: Final = 180
#: Django-Q's letters for types of schedules
_TYPES: Final = {
    "O": "once", "I": "minutes", "H": "hourly", "D": "daily", "W": "weekly", "BW": "biweekly", "M": "monthly",
    "BM": "bimonthly", "Q": "quarterly", "Y": "yearly", "C": "cron",
}  # fmt: skip
#: options of one call of several, which its function is not given
_OURS: Final = DJANGO_Q_OPTIONS - {"broker", "chain", "iter_count", "iter_cached"}
#: options of the list that an iter collects, and not of its parts
_WHOLE: Final = frozenset({"group", "save", "cached", "task_name"})


@functools.cache
def app() -> App:
    """Return the App that these functions use: that of `Config.load()`."""
    return App()


# -- enqueuing --------------------------------------------------------------------------------


def async_task(func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
    """Enqueue a call and return its id; see `App.async_task`."""
    return app().async_task(func, *args, **kwargs)


def async_iter(func: Callable[..., Any] | str, args_iter: Iterable[Any], **kwargs: Any) -> str:
    """Call a function for each item and return the id of the list of what the calls returned."""
    options, kwargs = lifted(kwargs)
    options.pop("hook", None)
    items = [item if isinstance(item, tuple | list) else (item,) for item in args_iter]
    # The list is the result that was asked for; its parts are not stored beside it.
    part = with_options(
        options_from_django_q({key: options[key] for key in options if key not in _WHOLE}), {"save": False}
    )
    whole = with_options(options_from_django_q(options), {"save": True})
    each = sender(func, part)
    return app().group([each.bind(*item, **kwargs) for item in items]).then(sender(COLLECTED, whole)).id


def async_chain(
    chain: Sequence[Any],
    group: str | None = None,
    cached: bool | float | None = None,
    sync: bool | None = None,
    broker: object = None,
    **options: Any,
) -> str:
    """Run calls one after the other and return the name of the result group of their results."""
    del broker
    group = str(group or os.urandom(16).hex())
    given = {"group": group, "cached": cached, "sync": sync, **options}
    made = options_from_django_q({key: value for key, value in given.items() if value is not None})
    steps = map(step_of, chain)
    app().chain([sender(function, made).bind(*args, **kwargs) for function, args, kwargs in steps])
    return group


def schedule(
    func: Callable[..., Any] | str,
    *args: Any,
    name: str | None = None,
    hook: Callable[..., Any] | str | None = None,
    schedule_type: str = "O",
    minutes: int | None = None,
    repeats: int = -1,
    next_run: datetime | None = None,
    cron: str | None = None,
    cluster: str | None = None,
    intended_date_kwarg: str | None = None,
    q_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Schedule:
    """Create a schedule; `schedule_type` is one of Django-Q's letters.

    Without `name` it is named after its arguments: another call, rule, first slot or queue makes
    another schedule, and the same arguments make the same one.
    """
    kind = _TYPES.get(schedule_type, schedule_type)
    if name is None:
        when = (kind, minutes, cron, None if next_run is None else str(next_run), cluster)
        name = _name_for(func, when, args, kwargs)
    return app().schedules.create(
        func,
        *args,
        name=name,
        hook=hook,
        type=kind,
        minutes=minutes if kind == "minutes" else None,
        repeats=repeats,
        next_run=next_run,
        cron=cron if kind == "cron" else None,
        queue=cluster,
        intended_date_kwarg=intended_date_kwarg,
        q_options=q_options,
        **kwargs,
    )


def _name_for(
    func: Callable[..., Any] | Sender[..., Any] | str,
    when: Sequence[Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str:
    function = func.name if isinstance(func, Sender) else name_of(func)
    said = as_data([function, list(when), list(args), dict(sorted(kwargs.items()))])
    digest = hashlib.sha256(app().runtime.serializer.dumps(said)).hexdigest()
    return f"{function[:_SHOWN]} {digest[:12]}"


# -- reading results --------------------------------------------------------------------------


def result(task_id: str, wait: float = 0, cached: object = None) -> Any:  # noqa: ANN401 - whatever the task returned
    """Return what a task returned, its error as text if it failed, None if it has not ended."""
    found = fetch(task_id, wait, cached)
    return None if found is None else value_of(found)


def fetch(task_id: str, wait: float = 0, cached: object = None) -> Result | None:
    """Return the `Result` of a task, None if it has not ended."""
    del cached
    for seconds in waits(wait):
        found = app().results.fetch(task_id, seconds)
        if found is not None and found.state.final:
            return found
    return None


def result_group(
    group_id: str,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    cached: object = None,
) -> list[Any] | None:
    """Return what the tasks of a result group returned, None if there are no results."""
    found = fetch_group(group_id, failures, wait, count, cached)
    return None if found is None else [value_of(one) for one in found]


def fetch_group(
    group_id: str,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    cached: object = None,
) -> list[Result] | None:
    """Return the `Result`s of a result group, None if there are none, or not `count` of them in time."""
    del cached
    for seconds in waits(wait):
        found = app().results.fetch_group(str(group_id), failures=failures, wait=seconds, count=count)
        if found and (count is None or len(found) >= count):
            return found
    return None


def count_group(group_id: str, failures: bool = False, cached: object = None) -> int:
    """Return how many tasks of a result group have ended, or with `failures` how many failed."""
    del cached
    return app().results.count_group(str(group_id), failures=failures)


def delete_group(group_id: str, tasks: bool = False, cached: object = None) -> int:
    """Dissolve a result group, or with `tasks` delete its results; return how many there were."""
    del cached
    return app().results.delete_group(str(group_id), tasks=tasks)


def delete_cached(task_id: str, broker: object = None) -> bool:
    """Delete a result; return whether there was one."""
    del broker
    return app().results.delete(task_id)


def queue_size(broker: object = None) -> int:
    """Return how many tasks are ready to run."""
    del broker
    return app().queue.size().ready


# One store has both the results that expire and those that stay.
result_cached = result
fetch_cached = fetch
result_group_cached = result_group
fetch_group_cached = fetch_group
count_group_cached = count_group
delete_group_cached = delete_group


# -- shared with the classes ------------------------------------------------------------------


def value_of(found: Result) -> Any:  # noqa: ANN401 - whatever the task returned
    """Return what Django-Q returns for a result: the value, or the error with its traceback."""
    if found.success:
        return found.value
    return f"{found.error} : {found.traceback}" if found.traceback else found.error


def waits(milliseconds: float) -> Iterable[float]:
    """Yield the seconds to wait, again and again if they are below zero."""
    yield max(0.0, milliseconds / 1000)
    while milliseconds < 0:
        yield _LONG


def lifted(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options among keyword arguments, and the arguments left for the function."""
    kwargs = dict(kwargs)
    options = dict(kwargs.pop("q_options", None) or {})
    for key in _OURS:
        if key in kwargs and key not in options:
            options[key] = kwargs.pop(key)
    return options, kwargs


def step_of(step: Any) -> tuple[Callable[..., Any] | str, Sequence[Any], Mapping[str, Any]]:  # noqa: ANN401 - see there
    """Return a link of a chain: a function, (function, args) or (function, args, kwargs)."""
    if not isinstance(step, tuple | list):
        return step, (), {}
    function, args, kwargs = (*step, (), {})[:3] if len(step) < 3 else step
    return function, args or (), kwargs or {}


def sender(function: Callable[..., Any] | Sender[..., Any] | str, options: Options) -> Sender[..., Any]:
    """Return any function as a task with these options."""
    if isinstance(function, Sender):
        return Sender(app(), collected, function.name, merge_options(function.options, options))
    # The worker finds the function by its name: the object given here is never used.
    return Sender(app(), collected, name_of(function), options)

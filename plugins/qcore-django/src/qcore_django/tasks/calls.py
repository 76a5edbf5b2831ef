"""What the functions of Django-Q become."""

# ruff: noqa: FBT001 - signatures are Django-Q's, positional booleans and all

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from qcore.flows.app_api import group_of, start_chain
from qcore.messages.workflow import COLLECTED
from qcore.tasks.call import with_options
from qcore.tasks.task import Sender, bind
from qcore_django.cron import cron_of
from qcore_django.queue_names import queue_name
from qcore_django.shared import app
from qcore_django.tasks.options import SCHEDULE_TYPES, Given, lifted, link_of, options_of
from qcore_names.resolve import name_of
from qcore_values.data import as_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from qcore.flows.handles import ChainJob
    from qcore_django.models import Schedule

#: seconds of one wait, if the caller waits without limit
_LONG: Final = 3600.0
#: characters of a task's id
_ID: Final = 32
#: characters of a function's name in the name of its schedule, which has 200 at most
_SHOWN: Final = 180
#: options of the list that an iter collects, and not of its parts
_WHOLE: Final = frozenset({"group", "save", "cached", "task_name"})


# -- enqueuing --------------------------------------------------------------------------------


def async_task(func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
    """Enqueue a call and return its id.

    Options are among the keyword arguments or in `q_options`, those of `App.async_task`, and:

    - `on_commit`: True = enqueue it when the transaction of the default database is committed, and
      not at all if it is rolled back; the alias of another database = of that one.

    With `sync` the task runs now, and what it raises reaches the caller.
    """
    options, kwargs = lifted(kwargs)
    given = Given.taken(options)
    chain = options.pop("chain", None)
    # As in Django-Q, a wrong call is a failed task, and no error here.
    call = bind(func, args, kwargs, options_of(options), checked=False)
    with given.delivering():
        if not chain:
            return given.producer(app).send([call])[0].id
        above = {key: value for key, value in options.items() if key in given.of_links}
        links = [link_of(step, above) for step in chain]
        return start_chain(given.producer(app), [call, *links], pipe_result=False).jobs[0].id


def async_iter(func: Callable[..., Any] | str, args_iter: Iterable[Any], **kwargs: Any) -> str:
    """Call a function for each item and return the id of the list of what the calls returned."""
    options, kwargs = lifted(kwargs)
    given = Given.taken(options)
    for key in ("hook", "chain"):
        options.pop(key, None)
    # The list is the result that was asked for; its parts are not stored beside it.
    part = with_options(
        options_of({key: options[key] for key in options if key not in _WHOLE}), {"save": False}
    )
    whole = options_of({**options, "save": given.cached is None})
    calls = [
        bind(func, item if isinstance(item, tuple) else (item,), kwargs, part, checked=False)
        for item in args_iter
    ]
    with given.delivering(only=COLLECTED):
        return group_of(given.producer(app), calls).then(bind(COLLECTED, (), {}, whole)).id


def async_chain(
    chain: Sequence[Any],
    group: str | None = None,
    cached: bool | float | None = None,
    sync: bool | None = None,
    broker: object = None,
    **options: Any,
) -> str:
    """Run calls one after the other and return the name of the result group of their results."""
    return chained(chain, group, {"cached": cached, "sync": sync, "broker": broker, **options})[0]


def chained(chain: Sequence[Any], group: object, options: Mapping[str, Any]) -> tuple[str, ChainJob]:
    """Enqueue a chain and return the name of its result group, and its handle."""
    name = str(group or os.urandom(16).hex())
    said = {key: value for key, value in options.items() if value is not None}
    given = Given.taken(said)
    links = [link_of(step, {"group": name, **said}) for step in chain]
    with given.delivering():
        return name, start_chain(given.producer(app), links, pipe_result=False)


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
    """Create a schedule; `schedule_type` is one of Django-Q's letters. It is returned as the model.

    Without `name` it is named after its arguments: another call, rule, first slot or queue makes
    another schedule, and the same arguments make the same one. The results of its tasks are in the
    result group of its name, unless `q_options` names another.
    """
    kind = SCHEDULE_TYPES.get(schedule_type, schedule_type)
    if name is None:
        when = (kind, minutes, cron, None if next_run is None else str(next_run), cluster)
        name = _name_for(func, when, args, kwargs)
    options = {"group": name, **(q_options or {})}
    if hook is not None:
        options["hook"] = hook
    from qcore_django.models import Schedule  # noqa: PLC0415 - the apps of the site are loaded when it is called

    made = app.schedules.create(
        func,
        *args,
        name=name,
        hook=options_of({"hook": options.pop("hook", None)}).hook,
        type=kind,
        minutes=minutes if kind == "minutes" else None,
        repeats=repeats,
        next_run=next_run,
        cron=cron_of(cron) if kind == "cron" and cron else None,
        cluster=None if cluster is None else queue_name(cluster),
        intended_date_kwarg=intended_date_kwarg,
        q_options=options,
        **kwargs,
    )
    return Schedule.of(made)


def _name_for(
    func: Callable[..., Any] | Sender[..., Any] | str,
    when: Sequence[Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str:
    function = func.name if isinstance(func, Sender) else name_of(func)
    said = as_data([function, list(when), list(args), dict(sorted(kwargs.items()))])
    digest = hashlib.sha256(app.runtime.serializer.dumps(said)).hexdigest()
    return f"{function[:_SHOWN]} {digest[:12]}"


def queue_size(broker: object = None) -> int:
    """Return how many tasks are ready to run."""
    size = getattr(broker, "size", None)
    return int((app.queue.size() if size is None else size()).ready)

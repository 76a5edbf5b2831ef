"""How declared schedules replace those in the store."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import BadSignature, ConfigError, MalformedMessage, ScheduleError, UnknownKey
from qcore.runtime import Runtime
from qcore.tasks.task import Task
from qcore_calendar import rules
from qcore_calendar.schedule import Schedule  # noqa: TC001 - read at run time, when what is found is decoded
from qcore_calendar.slots import skip_missed
from qcore_schedules.build import draft
from qcore_schedules.swap import swap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.config import Config
    from qcore.declarations import Declaration, Declares
    from qcore.plugins import Plugins
    from qcore_schedules.sealed import SealedSchedules

_log = logging.getLogger("qcore.declared")


class Declared(msgspec.Struct):
    """What the modules of one cluster declare."""

    #: the modules that it has imported
    modules: list[str] = []
    schedules: list[Schedule] = []


#: packages that have no App
_OTHERS: Final = sys.stdlib_module_names | {"qcore"}

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Declared).decode


# -- where the user's modules are imported ----------------------------------------------------


def gather(app_type: type[Declares], config: Config, plugins: Plugins) -> bytes:
    """Return the schedules that the imported modules declare for a queue; no backend is asked.

    Args:
        app_type: `App`, whose instances are looked for in modules.
        config: of the queue.
        plugins: those installed.

    Raises:
        EncodeError: an argument cannot be serialised.
        ScheduleError: two of them have one name.

    """
    found: dict[str, Schedule] = {}
    runtime: Runtime | None = None
    for app in _apps(app_type):
        if not app.declared_schedules.all or not _is_for(app, config):
            continue
        runtime = runtime or Runtime(config, plugins)
        for one in app.declared_schedules.all:
            made = _made(runtime, one)
            other = found.setdefault(made.name, made)
            if other is not made:
                msg = (
                    f"a schedule named {made.name!r} is declared by {other.declared} and by {made.declared};"
                    " give one of them another name="
                )
                raise ScheduleError(msg)
    return _encode(Declared(list(sys.modules), list(found.values())))


def _apps(app_type: type[Declares]) -> Iterator[Declares]:
    """Yield once each App that is an attribute of a module or belongs to a task in one."""
    seen: set[int] = set()
    # Tens of thousands of values have some hundred types, and each type is checked once. A value is
    # not asked itself, because it may be a proxy that loads something when it is.
    kinds: dict[type, bool] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _OTHERS:
            continue
        for value in list(getattr(module, "__dict__", {}).values()):
            kind = type(value)
            ours = kinds.get(kind)
            if ours is None:
                ours = kinds[kind] = issubclass(kind, (app_type, Task))
            if not ours:
                continue
            app = value._app if issubclass(kind, Task) else value  # noqa: SLF001 - the task's App, which need not be in any module
            if isinstance(app, app_type) and id(app) not in seen:
                seen.add(id(app))
                yield app


def _is_for(app: Declares, config: Config) -> bool:
    """Return whether an App is for the queue of this cluster."""
    names = [one.name for one in app.declared_schedules.all]
    try:
        its = app.config
    except ConfigError as exc:
        _log.warning("schedules %s are ignored: their App has no configuration: %s", names, exc)
        return False
    # The whole configuration is not compared, because a path may be written in two ways.
    same = (its.name, its.broker) == (config.name, config.broker)
    if not same:
        text = "schedules %s are ignored here: their App is for the queue %r on %s"
        _log.warning(text, names, its.name, its.broker)
    return same


def _made(runtime: Runtime, one: Declaration) -> Schedule:
    when = attrs.evolve(one.when, name=one.name)
    made = draft(runtime, one.task.bind(*when.args, **(when.kwargs or {})), when)
    # All processes that declare it must mean the same slots, so a fixed interval counts from the epoch.
    anchor = made.anchor if when.next_run is not None else 0.0
    return skip_missed(attrs.evolve(made, anchor=anchor, declared=one.module), time.time())


# -- where schedules are fired ----------------------------------------------------------------


def reconcile(store: SealedSchedules, data: bytes, now: float) -> None:
    """Add new declared schedules, update changed ones, remove those that are not declared any more.

    Schedules made by hand are left alone, and so are those of modules that this cluster does not
    import. If two clusters do this at once, either change may be the one that stays.
    """
    found = _decode(data)
    stored = store.all()
    for one in found.schedules:
        _update(store, one, now)
    names = {one.name for one in found.schedules}
    modules = set(found.modules)
    for before in stored:
        if before.declared in modules and before.name not in names:
            _remove(store, before)


def _update(store: SealedSchedules, one: Schedule, now: float) -> None:
    added = by_hand = False

    def declared(before: Schedule | None) -> Schedule:
        nonlocal added, by_hand
        added, by_hand = before is None, before is not None and not before.declared
        if before is None:
            return skip_missed(one, now)
        return before if by_hand else _updated(before, one, now)

    # One that was altered, or is of another version, was not made by hand.
    try:
        _, changed = swap(store, one.name, declared, instead_of=(BadSignature, MalformedMessage))
    except UnknownKey as exc:
        _log.warning("schedule %r of %s is ignored: %s", one.name, one.declared, exc)
        return
    if by_hand:
        text = "schedule %r of %s is ignored: one of this name was made by hand; delete that one first"
        _log.warning(text, one.name, one.declared)
    elif changed:
        _log.info(
            "schedule %r is %s: %s declares it", one.name, "added" if added else "changed", one.declared
        )


def _remove(store: SealedSchedules, stored: Schedule) -> None:
    _, changed = swap(
        store,
        stored.name,
        lambda before: None if before is not None and before.declared == stored.declared else before,
    )
    if changed:
        text = "schedule %r is removed: %s does not declare it any more"
        _log.info(text, stored.name, stored.declared)


def _updated(before: Schedule, made: Schedule, now: float) -> Schedule:
    """Return a declared schedule as its module declares it now; with the same rule it keeps its next slot."""
    same = (before.rule, before.time_zone) == (made.rule, made.time_zone)
    if before.anchor != made.anchor and not rules.parse(made.rule).cron:
        # It is the same interval at other times.
        same = False
    where = attrs.evolve(made, next_run=before.next_run, anchor=before.anchor) if same else made
    if before.repeats == before.kept == 0 and same:
        return attrs.evolve(where, repeats=0, kept=0)
    left = before.repeats or before.kept
    repeats = min(left, made.repeats) if same and left > 0 else made.repeats
    if before.repeats == 0:
        # It was paused by hand, and a declaration does not resume it.
        after = attrs.evolve(where, repeats=0, kept=repeats)
    else:
        after = attrs.evolve(where, repeats=repeats)
    return after if same and not before.fault else skip_missed(after, now)

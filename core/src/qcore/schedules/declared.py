"""Schedules that code declares, brought into line with those kept."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import ConfigError, ScheduleError
from qcore.model import Schedule  # noqa: TC001 - read at run time, when what is found is decoded
from qcore.runtime import Runtime
from qcore.schedules import rules
from qcore.schedules.app_api import Scheduling
from qcore.schedules.build import draft
from qcore.schedules.slots import fresh
from qcore.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.config import Config
    from qcore.interfaces import ScheduleStore
    from qcore.plugins import Plugins
    from qcore.schedules.app_api import Declaration

_log = logging.getLogger("qcore.declared")

#: Changes of others that one change of ours gives way to.
_TRIES: Final = 20


class Declared(msgspec.Struct):
    """What the modules of one cluster declare."""

    #: those it has imported
    modules: list[str] = []
    schedules: list[Schedule] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Declared).decode


# -- where the user's modules are imported ----------------------------------------------------


def gather(config: Config, plugins: Plugins) -> bytes:
    """Return what the modules imported by this process declare for a queue; no backend is asked.

    Raises:
        EncodeError: an argument cannot be serialised.
        ScheduleError: two of them have one name.

    """
    found: dict[str, Schedule] = {}
    runtime: Runtime | None = None
    for app in _apps():
        if not app.declarations or not _is_for(app, config):
            continue
        runtime = runtime or Runtime(config, plugins)
        for one in app.declarations:
            made = _made(runtime, one)
            other = found.setdefault(made.name, made)
            if other is not made:
                msg = (
                    f"a schedule named {made.name!r} is declared by {other.declared} and by {made.declared};"
                    " give one of them another name="
                )
                raise ScheduleError(msg)
    return _encode(Declared(list(sys.modules), list(found.values())))


def _apps() -> Iterator[Scheduling]:
    """Yield every App that a module holds, or that a task in a module belongs to, once."""
    seen: set[int] = set()
    # Tens of thousands of values are of some hundred types: each is looked at once. By its type,
    # for what stands there may be a proxy that wakes up when it is asked.
    kinds: dict[type, bool] = {}
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            kind = type(value)
            ours = kinds.get(kind)
            if ours is None:
                ours = kinds[kind] = issubclass(kind, Scheduling | Task)
            if not ours:
                continue
            app = value._app if issubclass(kind, Task) else value  # noqa: SLF001 - its own, which no module need hold
            if isinstance(app, Scheduling) and id(app) not in seen:
                seen.add(id(app))
                yield app


def _is_for(app: Scheduling, config: Config) -> bool:
    """Whether an App's queue is this cluster's."""
    names = [one.name for one in app.declarations]
    try:
        its = app.config
    except ConfigError as exc:
        _log.warning("schedules %s are not kept: their App has no configuration: %s", names, exc)
        return False
    # Not by the whole of it: a path may be written in two ways.
    same = (its.name, its.broker) == (config.name, config.broker)
    if not same:
        text = "schedules %s are not kept here: their App is for the queue %r on %s"
        _log.warning(text, names, its.name, its.broker)
    return same


def _made(runtime: Runtime, one: Declaration) -> Schedule:
    when = attrs.evolve(one.when, name=one.name)
    made = draft(runtime, one.task.bind(*when.args, **(when.kwargs or {})), when)
    # Whoever declares it means the same slots: those of a cadence are counted from the epoch.
    anchor = made.anchor if when.next_run is not None else 0.0
    return fresh(attrs.evolve(made, anchor=anchor, declared=one.module), time.time())


# -- where schedules are fired ----------------------------------------------------------------


def reconcile(store: ScheduleStore, data: bytes, now: float) -> None:
    """Add what is new, change what has changed, drop what is declared no more.

    What was made by hand is left alone, and so is what modules declare that this cluster does
    not import. If two clusters do so at once, either may be the one whose change holds.
    """
    found = _decode(data)
    kept = store.all()
    for one in found.schedules:
        _keep(store, one, now)
    names = {one.name for one in found.schedules}
    modules = set(found.modules)
    for before in kept:
        if before.declared in modules and before.name not in names:
            _drop(store, before)


def _keep(store: ScheduleStore, one: Schedule, now: float) -> None:
    for _ in range(_TRIES):
        before = store.get(one.name)
        if before is None:
            store.add(fresh(one, now))
            _log.info("schedule %r is added: %s declares it", one.name, one.declared)
            return
        if not before.declared:
            text = "schedule %r of %s is not kept: one of this name was made by hand; delete that one first"
            _log.warning(text, one.name, one.declared)
            return
        after = _renewed(before, one, now)
        if after == before:
            return
        if store.advance(before, after):
            _log.info("schedule %r is changed as %s declares it", one.name, one.declared)
            return


def _drop(store: ScheduleStore, before: Schedule) -> None:
    one: Schedule | None = before
    for _ in range(_TRIES):
        if one is None or one.declared != before.declared:
            return
        if store.advance(one, None):
            _log.info("schedule %r is dropped: %s declares it no more", one.name, one.declared)
            return
        one = store.get(before.name)


def _renewed(before: Schedule, made: Schedule, now: float) -> Schedule:
    """Return a declared schedule as its module declares it now; where it stands it goes on."""
    same = (before.rule, before.time_zone) == (made.rule, made.time_zone)
    if before.anchor != made.anchor and not rules.parse(made.rule).cron:
        # The same cadence at other times.
        same = False
    where = attrs.evolve(made, next_run=before.next_run, anchor=before.anchor) if same else made
    if before.repeats == before.kept == 0 and same:
        return attrs.evolve(where, repeats=0, kept=0)
    left = before.repeats or before.kept
    repeats = min(left, made.repeats) if same and left > 0 else made.repeats
    if before.repeats == 0:
        # Paused by hand, and what code says does not wake it.
        after = attrs.evolve(where, repeats=0, kept=repeats)
    else:
        after = attrs.evolve(where, repeats=repeats)
    return after if same and not before.fault else fresh(after, now)

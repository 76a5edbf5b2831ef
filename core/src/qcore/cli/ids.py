"""Which task or dead letter a shortened id stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import click

from qcore.cli.overview import statuses
from qcore.errors import QcoreError
from qcore.messages.envelope import task_id as task_id_in
from qcore_text.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qcore.interfaces import Broker
    from qcore.model import DeadLetter
    from qcore.runtime import Runtime

_T = TypeVar("_T")

#: Digits of a task's id.
_WHOLE: Final = 32
#: Characters that a shortened id has at least.
_SHORTEST: Final = 4
#: Newest results among which a shortened id is looked for.
_RECENT: Final = 1000
#: Ids that are listed if one stands for several.
_LISTED: Final = 5
#: Dead letters read at once.
_PAGE: Final = 500
#: Messages in the queue cannot be listed, so a task that only waits is not found by a part of its id.
_NOT_FOUND: Final = (
    "no running task, recent result or dead letter has an id that begins or ends with {!r}; "
    "give the whole id, which a task that waits in the queue always needs"
)


def as_task_id(ctx: click.Context, __: click.Parameter, value: str) -> str:
    """Read the id of a task, whole or shortened; a callback of click."""
    if not re.fullmatch(rf"[0-9a-fA-F]{{{_SHORTEST},{_WHOLE}}}", value):
        msg = (
            f"{value!r} is not a task id: one has {_WHOLE} hexadecimal digits; the first or the last "
            f"{_SHORTEST} or more are enough if they are unique"
        )
        raise click.BadParameter(msg)
    value = value.lower()
    if len(value) == _WHOLE:
        return value
    session = ctx.find_root().obj
    return one_of(value, {one: one for one in _known(session.runtime)}, _NOT_FOUND)


def one_of(part: str, ids: dict[str, _T], not_found: str) -> _T:
    """Return what has the id `part`, or the only one whose id begins or ends with it.

    Raises:
        QcoreError: there is none, or there are several.

    """
    if part in ids:
        return ids[part]
    found = [id_ for id_ in ids if len(part) >= _SHORTEST and (id_.startswith(part) or id_.endswith(part))]
    if not found:
        raise QcoreError(not_found.format(clean(part)))
    if len(found) > 1:
        listed = ", ".join(clean(id_) for id_ in sorted(found)[:_LISTED])
        more = ", ..." if len(found) > _LISTED else ""
        msg = f"{clean(part)!r} stands for {len(found)} ids: {listed}{more}; give more of the one you mean"
        raise QcoreError(msg)
    return ids[found[0]]


def every_dead_letter(broker: Broker) -> Iterator[DeadLetter]:
    """Yield all dead letters, the oldest first."""
    after = None
    while page := broker.dead_letters(_PAGE, after):
        yield from page
        after = page[-1].id


def _known(runtime: Runtime) -> Iterable[str]:
    """Yield the ids of tasks that can be listed: running ones, recent results, dead letters."""
    with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
        clusters, _ = statuses(runtime, broker.statuses())
        yield from (worker.task_id for one in clusters for worker in one.workers if worker.task_id)
        yield from (one.id.hex() for one in store.recent(limit=_RECENT))
        if broker.capabilities.dead_letters:
            yield from filter(None, (task_id_in(one.body) for one in every_dead_letter(broker)))

"""Decides which results are kept and for how long."""

from __future__ import annotations

import logging
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Integer,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from qcore.interfaces import ResultStore
from qcore.model import State, StoredResult
from qcore_plugin_support import epoch_seconds
from qcore_sql.compiled import Insert, Varied, clean
from qcore_sql.database import Database
from qcore_sql.expressions import MARIADB, now, one_of, value
from qcore_sql.notices import CHANNEL, NUMBER, PREFIX, key, notices_of
from qcore_sql.schema import FLAG, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import Per, Settings
    from qcore_sql.session import Session

_log = logging.getLogger("qcore_sql")

#: results deleted in one transaction, so that workers can write in between
PRUNE_BATCH: Final = 5000
#: the first and the longest pause between looks for a result, in seconds
_PAUSES: Final = (0.002, 0.2)
#: the pause where whoever waits is notified: a notification is lost with its connection
_LOOK: Final = 1.0
_STATES: Final = frozenset(map(int, State))

_R = RESULT.c
_QUEUE = _R.queue == value("queue", _R.queue)
_EXPIRED = and_(_R.expires > 0, _R.expires <= now())
_ALIVE = and_(_QUEUE, or_(_R.expires == 0, _R.expires > now()))
_STATE = _R.state == value("state", _R.state)
_LIMIT = bindparam("limit", type_=Integer())
_COLUMNS = (_R.id, _R.state, _R.body, _R.name, _R.grp, _R.finished, _R.expires, _R.label)
_OTHERS: Final = ("state", "finished", "expires", "name", "grp", "label", "body")
_NEWEST = (_R.finished.desc(), _R.id.desc())


def _by_rank(statement: Any, dialect: str) -> Any:  # noqa: ANN401 - an INSERT
    if dialect in MARIADB:
        new = statement.inserted
        # a constant, because the driver joins rows only where nothing behind them is a parameter
        wins = and_(new.state >= _R.state, _R.state < literal_column(str(int(State.SUCCESS))))
        # column by column: what compares the states comes before what sets them
        names = sorted(_OTHERS, key=lambda name: name == "state")
        return statement.on_duplicate_key_update(
            [(name, case((wins, new[name]), else_=_R[name])) for name in names]
        )
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[_R.queue, _R.id],
        set_={name: new[name] for name in _OTHERS},
        where=or_(and_(new.state >= _R.state, _R.state < int(State.SUCCESS)), _EXPIRED),
    )


SAVE: Final = Insert(
    RESULT, fixed={"queue": value("queue", _R.queue)}, varying=["id", *_OTHERS], then=_by_rank
)
_F = FLAG.c
_AT = func.generate_series(1, func.length(_F.value), NUMBER).table_valued("at", name="place").render_derived()
_WAITED = and_(_F.queue == value("queue", _F.queue), one_of(_F.item, "waited"), _F.expires > now())
#: The same in PostgreSQL, with a notification for each process that waits for one of the results: one
#: statement, so that it costs no round trip where nobody waits.
SAVE_AND_WAKE: Final = Varied(
    lambda dialect: (
        select(
            func.pg_notify(
                func.concat(CHANNEL, func.encode(func.substr(_F.value, _AT.c.at, NUMBER), "hex")),
                func.substr(_F.item, len(PREFIX) + 1),
            )
        )
        .select_from(FLAG, _AT)
        .where(_WAITED)
        .add_cte(SAVE.make(dialect).cte("saved"))
    )
)
#: before `SAVE` in MariaDB, which could not tell what has expired once it has set the new time
DELETE_EXPIRED: Final = delete(RESULT).where(_QUEUE, one_of(_R.id, "ids"), _EXPIRED)
GET: Final = select(*_COLUMNS).where(_ALIVE, one_of(_R.id, "ids"))
GROUP: Final = select(*_COLUMNS).where(_ALIVE, _R.grp == value("group", _R.grp)).order_by(_R.finished, _R.id)
RECENT: Final = select(*_COLUMNS).where(_ALIVE, _STATE).order_by(*_NEWEST).limit(_LIMIT)
DELETE: Final = delete(RESULT).where(_QUEUE, one_of(_R.id, "ids"))
REPLACE: Final = (
    update(RESULT)
    .where(_QUEUE, _R.id == value("old_id", _R.id), _R.body == value("old_body", _R.body))
    .values(body=value("new_body", _R.body))
)
COUNTS: Final = select(_R.state, func.count()).where(_ALIVE).group_by(_R.state)
UNGROUP: Final = update(RESULT).where(_ALIVE, _R.grp == value("group", _R.grp)).values(grp=None)

FIRST_BEYOND: Final = (
    select(_R.finished, _R.id)
    .where(_QUEUE, _STATE)
    .order_by(*_NEWEST)
    .limit(1)
    .offset(bindparam("keep", type_=Integer()))
)


def _delete_some(query: Any) -> Any:  # noqa: ANN401 - a query of ids
    # a query of its own, because MariaDB takes no limit in a condition
    some = query.limit(_LIMIT).subquery("some")
    return delete(RESULT).where(_QUEUE, _R.id.in_(select(some.c.id)))


PRUNE_EXPIRED: Final = _delete_some(select(_R.id).where(_QUEUE, _EXPIRED))
PRUNE_BEYOND: Final = _delete_some(
    select(_R.id).where(
        _QUEUE, _STATE, tuple_(_R.finished, _R.id) <= tuple_(value("at", _R.finished), value("last", _R.id))
    )
)


def _surplus(column: Any) -> Any:  # noqa: ANN401 - a column
    ranked = (
        select(_R.id, func.row_number().over(partition_by=column, order_by=_NEWEST).label("place"))
        .where(_QUEUE, _STATE)
        .subquery()
    )
    return _delete_some(select(ranked.c.id).where(ranked.c.place > bindparam("keep", type_=Integer())))


PRUNE_SURPLUS: Final[Mapping[Per, Any]] = MappingProxyType(
    {"group": _surplus(_R.grp), "label": _surplus(_R.label), "name": _surplus(_R.name)}
)


class SqlResults(ResultStore):
    """Results in the same database as a queue."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = database or Database(settings)
        self._queue = settings.name
        self._settings = settings
        self._longest = max(_PAUSES[0], min(settings.poll, _PAUSES[1]))
        self.transaction_domain = self._database.transaction_domain

    def save(self, results: Sequence[StoredResult]) -> None:
        """Save results in one transaction."""
        if results:
            self._database.write(save, self._queue, results)

    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`, None where there is none."""
        return self._database.read(_get, self._queue, ids) if ids else []

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is final, or what there is after `seconds`."""
        deadline = time.monotonic() + seconds
        (result,) = self.get([id])
        if (result is not None and result.state.final) or seconds <= 0:
            return result
        woken = threading.Event()
        end = self.watch([id], seconds, lambda _: woken.set())
        pause, longest = _PAUSES[0], self._longest
        if end is not None:
            pause = longest = _LOOK
        try:
            while True:
                (result,) = self.get([id])
                remaining = deadline - time.monotonic()
                if (result is not None and result.state.final) or remaining <= 0:
                    return result
                woken.wait(min(pause, remaining))
                woken.clear()
                pause = min(2 * pause, longest)
        finally:
            if end is not None:
                end(id)

    def watch(
        self, ids: Sequence[bytes], seconds: float, wake: Callable[[bytes], None]
    ) -> Callable[[bytes], None] | None:
        """Have `wake` called with an id once its result is final, where the database has notifications."""
        if not (self._database.wakes and self._database.watches):
            return None
        return notices_of(self._settings, self._database.address).watch(ids, seconds, wake)

    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished."""
        return self._database.read(_select, GROUP, queue=self._queue, group=clean(group))

    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first."""
        states = list(State) if state is None else [state]
        found = [
            one
            for each in states
            for one in self._database.read(_select, RECENT, queue=self._queue, state=int(each), limit=limit)
        ]
        return sorted(found, key=lambda result: (result.finished, result.id), reverse=True)[:limit]

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete results; return how many."""
        return self._database.single(_run, DELETE, queue=self._queue, ids=list(ids))

    def replace(self, before: StoredResult, after: StoredResult) -> bool:
        """Replace the body of a result in one statement."""
        values = {"old_id": before.id, "old_body": before.body, "new_body": after.body}
        return self._database.single(_run, REPLACE, queue=self._queue, **values) > 0

    def counts(self) -> Mapping[State, int]:
        """Count results by state."""
        return self._database.read(_counts, self._queue)

    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it."""
        return self._database.single(_run, UNGROUP, queue=self._queue, group=clean(group))

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Delete expired results and the oldest successes, in small batches."""
        pruned = self._delete_all(PRUNE_EXPIRED)
        if keep < 0:
            return pruned
        success = int(State.SUCCESS)
        if per is not None:
            return pruned + self._delete_all(PRUNE_SURPLUS[per], state=success, keep=keep)
        newest = self._database.read(_first_beyond, self._queue, keep)
        if newest is not None:
            pruned += self._delete_all(PRUNE_BEYOND, state=success, at=newest[0], last=newest[1])
        return pruned

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _delete_all(self, statement: Any, **values: object) -> int:  # noqa: ANN401 - a statement
        deleted = 0
        while True:
            some = self._database.single(_run, statement, queue=self._queue, limit=PRUNE_BATCH, **values)
            deleted += some
            if some < PRUNE_BATCH:
                return deleted


def save(session: Session, queue: str, results: Sequence[StoredResult]) -> None:
    """Save results as part of a transaction."""
    waiting = list(results)
    while waiting:
        # one statement changes a row once
        now_saved: dict[bytes, StoredResult] = {}
        later = []
        for one in waiting:
            if one.id in now_saved:
                later.append(one)
            else:
                now_saved[one.id] = one
        # rows are locked in one order by all processes
        ids = sorted(now_saved)
        if session.dialect in MARIADB:
            session.run(DELETE_EXPIRED, queue=queue, ids=ids)
        rows = [_row(now_saved[id_]) for id_ in ids]
        waited = [key(id_) for id_ in ids if now_saved[id_].state.final] if session.is_postgresql else ()
        if waited:
            session.rows(SAVE_AND_WAKE, waited=waited, **SAVE.values(rows, queue=queue))
        else:
            session.insert(SAVE, rows, queue=queue)
        waiting = later


def _row(one: StoredResult) -> tuple[Any, ...]:
    group, label = (None if text is None else clean(text) for text in (one.group, one.label))
    return one.id, int(one.state), one.finished, one.expires, clean(one.name), group, label, one.body


def _read(row: tuple[Any, ...]) -> StoredResult | None:
    """Return a result, None for a row that is not one."""
    id_, state, body, name, group, finished, expires, label = row
    if state not in _STATES:
        _log.error("the result %s is ignored, its state is %r", id_.hex(), state)
        return None
    seconds = epoch_seconds(finished), epoch_seconds(expires)
    return StoredResult(id_, State(state), body, name, group, *seconds, label)


def _select(session: Session, /, query: object, **values: object) -> list[StoredResult]:
    found = map(_read, session.rows(query, **values))
    return [one for one in found if one is not None]


def _get(session: Session, queue: str, ids: Sequence[bytes]) -> list[StoredResult | None]:
    found = {one.id: one for one in _select(session, GET, queue=queue, ids=list(ids))}
    return [found.get(id_) for id_ in ids]


def _run(session: Session, /, statement: object, **values: object) -> int:
    return session.run(statement, **values)


def _counts(session: Session, queue: str) -> dict[State, int]:
    return {State(state): count for state, count in session.rows(COUNTS, queue=queue) if state in _STATES}


def _first_beyond(session: Session, queue: str, keep: int) -> tuple[Any, ...] | None:
    return session.one(FIRST_BEYOND, queue=queue, state=int(State.SUCCESS), keep=keep)

"""Which messages have ended, so that a copy is recognised."""

from __future__ import annotations

import random
from itertools import groupby
from typing import TYPE_CHECKING, Final, Self

import attrs
from sqlalchemy import Double, Integer, bindparam, delete, func, or_, select

from qcore.model import Action
from qcore_sql.compiled import Insert
from qcore_sql.expressions import now, one_of, value
from qcore_sql.schema import ENDED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Settlement
    from qcore_sql.session import Session

#: Ids begin with their time in milliseconds. Those that share so many bytes, a quarter of a second, are
#: stored together.
_BUCKET: Final = 5
_ID: Final = 16
#: one in so many transactions looks for rows to be deleted
_TRIM_EVERY: Final = 50

_E = ENDED.c
_QUEUE = _E.queue == value("queue", _E.queue)

ADD: Final = Insert(
    ENDED,
    fixed={"queue": value("queue", _E.queue), "ended": now()},
    varying=["bucket", "number", "high", "ids"],
)
HIGH: Final = select(_E.high).where(_QUEUE).order_by(_E.high.desc()).limit(1)
FIND: Final = select(_E.ids).where(_QUEUE, one_of(_E.bucket, "buckets"))
_TOTALS = (
    select(_E.seq, (func.sum(_E.number).over(order_by=_E.seq.desc()) - _E.number).label("newer"))
    .where(_QUEUE)
    .subquery()
)
#: what is older than the window, and what is beyond the limit
TRIM: Final = delete(ENDED).where(
    _QUEUE,
    or_(
        _E.ended <= now() - bindparam("window", type_=Double()),
        _E.seq.in_(select(_TOTALS.c.seq).where(_TOTALS.c.newer >= bindparam("most", type_=Integer()))),
    ),
)


@attrs.define(kw_only=True)
class Ended:
    """The ids of acknowledged messages, by the time at which these were enqueued.

    In a queue in good order every leased message is newer than all that have ended, and then one
    comparison with the highest id tells that none of a batch has. What is older is looked for.
    """

    #: seconds
    window: float
    limit: int

    @classmethod
    def where_wanted(cls, settings: Settings) -> Self | None:
        """Return it, or None if nothing is to be remembered."""
        window = settings.replay_window
        return cls(window=window, limit=settings.replay_limit) if window else None

    def add(self, session: Session, queue: str, settlements: Sequence[Settlement]) -> None:
        """Remember the messages that these settlements acknowledge."""
        ids = [one.id for one in settlements if one.id and one.action is Action.ACK]
        if not ids:
            return
        rows = [(bucket, len(group), max(group), b"".join(group)) for bucket, group in _by_bucket(ids)]
        session.insert(ADD, rows, queue=queue)
        # by chance, because a worker may be replaced long before it has made so many
        if random.random() * _TRIM_EVERY < 1:  # noqa: S311 - not used for a secret
            session.run(TRIM, queue=queue, window=self.window, most=self.limit)

    def find(self, session: Session, queue: str, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids that have ended."""
        found = session.one(HIGH, queue=queue)
        suspects = {id_ for id_ in ids if found is not None and id_ <= found[0]}
        if not suspects:
            return ()
        ended: set[bytes] = set()
        for (blob,) in session.rows(FIND, queue=queue, buckets=sorted({id_[:_BUCKET] for id_ in suspects})):
            ended.update(blob[at : at + _ID] for at in range(0, len(blob), _ID))
        return suspects & ended


def _by_bucket(ids: Sequence[bytes]) -> list[tuple[bytes, list[bytes]]]:
    return [(key, list(group)) for key, group in groupby(sorted(ids), lambda id_: id_[:_BUCKET])]

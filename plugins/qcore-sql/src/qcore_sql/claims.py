"""Decides which messages are leased next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double, Integer, bindparam, case, select, update

from qcore.model import Delivery
from qcore_plugin_support import count_of, epoch_seconds
from qcore_sql.expressions import now, one_of, value
from qcore_sql.messages import MOST, RECEIPT, by_number
from qcore_sql.schema import MESSAGE
from qcore_sql.streams import ALONE, OF_DEFAULT, OF_STREAM, UNUSED, leasable

if TYPE_CHECKING:
    from qcore_queues.order import QueueOrder
    from qcore_sql.session import Session

_M = MESSAGE.c
_SECONDS: Any = bindparam("seconds", type_=Double())
_LIMIT: Any = bindparam("limit", type_=Integer())
# a row that is not ours may have any number
_ONE_MORE = case((_M.deliveries < MOST, _M.deliveries + 1), else_=MOST)
_LEASE: Final = {"token": value("new_token", _M.token), "due": now() + _SECONDS, "deliveries": _ONE_MORE}


def _ready(*which: Any) -> Any:  # noqa: ANN401 - a query
    return (
        select(_M.seq, _M.due, _M.token)
        .where(*which, _M.due <= now())
        .order_by(_M.due, _M.seq)
        .limit(_LIMIT)
        .with_for_update(skip_locked=True)
    )


def _claim(*which: Any) -> Any:  # noqa: ANN401 - a statement
    """Return the statement that leases; for databases where a change returns rows.

    A row that still has a token belongs to a lease that has expired. The rows are chosen in a query of
    its own that is executed once, whatever the plan.
    """
    found = _ready(*which).cte("found")
    return (
        update(MESSAGE)
        .where(_M.seq == found.c.seq)
        .values(_LEASE)
        .returning(found.c.due, _M.seq, found.c.token, _M.body, _M.deliveries, _M.failures, _M.crashes)
    )


def _choose(*which: Any) -> Any:  # noqa: ANN401 - a query
    """Return the same for others, with the index that a server with old statistics may not choose."""
    return (
        _ready(*which)
        .add_columns(_M.body, _M.deliveries, _M.failures, _M.crashes)
        .with_hint(MESSAGE, "FORCE INDEX (qcore_message_due)", "mysql")
    )


#: from the default stream, where nobody has named another
CLAIM: Final = _claim(OF_DEFAULT, UNUSED)
CHOOSE: Final = _choose(OF_DEFAULT, UNUSED)
#: from one stream of several
CLAIM_OF: Final = _claim(OF_STREAM)
CHOOSE_OF: Final = _choose(OF_STREAM)
MARK: Final = by_number(update(MESSAGE).where(one_of(_M.seq, "seqs"))).values(_LEASE)
#: seconds until the first message of the default stream can be leased, and whether it is the only stream
NEXT: Final = select(
    select(_M.due - now()).where(OF_DEFAULT).order_by(_M.due, _M.seq).limit(1).scalar_subquery(),
    case((ALONE, 1), else_=0),
)


class Claims:
    """Leases messages for one owner.

    Who uses neither queues nor priorities has one stream, and a lease is one statement, which also
    looks whether that is so. Where it is not, a lease looks for the streams first.
    """

    def __init__(self, queue: str, owner: int, seconds: float, order: QueueOrder | None = None) -> None:
        self._queue = queue
        self._owner = owner
        self._seconds = seconds
        self._order = order
        #: whether there may be other streams than the default one
        self._routed = order is not None

    def take(self, session: Session, limit: int) -> list[Delivery]:
        """Lease messages; none may mean that other streams have come, see `wait`."""
        if self._routed:
            return self._take_routed(session, limit)
        return self._take(session, CLAIM, CHOOSE, limit)

    def wait(self, session: Session) -> float | None:
        """Return the seconds until the first message can be leased; None = other streams have come."""
        if not self._routed:
            found = session.one(NEXT, queue=self._queue)
            assert found is not None
            seconds, alone = found
            self._routed = not alone
            return _seconds(float("inf") if seconds is None else seconds) if alone else None
        order = None if self._order is None else self._order.names
        waits = [_seconds(one.wait) for one in leasable(session, self._queue, order)]
        return min(waits, default=float("inf"))

    def _take_routed(self, session: Session, limit: int) -> list[Delivery]:
        order = None if self._order is None else self._order.next()
        streams = leasable(session, self._queue, order)
        taken: list[Delivery] = []
        for (task_queue, priority), wait, _ in streams:
            if wait <= 0:
                which = {"task_queue": task_queue, "priority": priority}
                taken += self._take(session, CLAIM_OF, CHOOSE_OF, limit - len(taken), **which)
            if len(taken) >= limit:
                break
        return taken

    def _take(
        self,
        session: Session,
        claim: Any,  # noqa: ANN401 - a statement
        choose: Any,  # noqa: ANN401 - a query
        limit: int,
        **stream: object,
    ) -> list[Delivery]:
        token, which = new_token(self._owner), {"queue": self._queue, "limit": limit, **stream}
        if session.is_postgresql:
            rows = session.rows(claim, new_token=token, seconds=self._seconds, **which)
            # a change returns its rows in any order
            chosen = sorted(((due, seq, *rest) for due, seq, *rest in rows), key=lambda row: row[:2])
        else:
            chosen = [
                (due, seq, old, body, count_of(deliveries) + 1, failures, crashes)
                for seq, due, old, body, deliveries, failures, crashes in session.rows(choose, **which)
            ]
            seqs = [row[1] for row in chosen]
            if seqs:
                session.run(MARK, seqs=seqs, new_token=token, seconds=self._seconds)
        pack = RECEIPT.pack
        return [
            Delivery(
                body,
                pack(token, seq),
                max(1, count_of(deliveries)),
                count_of(failures),
                count_of(crashes),
                0.0 if old is None else epoch_seconds(due),
            )
            for due, seq, old, body, deliveries, failures, crashes in chosen
        ]


def new_token(owner: int) -> int:
    """Return a number that is unique to a lease: the owner's 31 bits and 32 random ones."""
    return owner << 32 | int.from_bytes(os.urandom(4), "big")


def _seconds(wait: float) -> float:
    # a time that is not a number sorts behind all others
    return max(0.0, wait) if wait < float("inf") else float("inf")

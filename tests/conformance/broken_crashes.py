"""Brokers that can die between two steps of one call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.model import Action, Outgoing, Settlement
from qcore_sqlite import SqliteBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Delivery

changed = msgspec.structs.replace

#: bytes of a receipt of SQLite
RECEIPT: Final = 16


class _TwoSteps(SqliteBroker):
    """Knows the body of a message by its receipt."""

    wrong = Action.RETRY

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Put the bodies into the receipts."""
        return [changed(one, receipt=one.receipt + one.body) for one in super().lease(limit, wait)]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Do one of the actions in two steps, the others as they should be done."""
        known = [changed(one, receipt=one.receipt[:RECEIPT]) for one in settlements]
        super().settle([one for one in known if one.action is not self.wrong])
        for one, own in zip(settlements, known, strict=True):
            if one.action is self.wrong:
                self.two_steps(own, one.receipt[RECEIPT:])

    def two_steps(self, own: Settlement, body: bytes) -> None:
        """Remove the message, then put it in again."""
        super().settle([Settlement(own.receipt)])
        self.enqueue([Outgoing(os.urandom(16), body)])


class RetryRemovesFirst(_TwoSteps):
    """Removes a message and enqueues it again."""


class RetryAddsFirst(_TwoSteps):
    """Enqueues a message again and then removes it, and calls that one step."""

    def two_steps(self, own: Settlement, body: bytes) -> None:
        """Put it in again, then remove it."""
        self.enqueue([Outgoing(os.urandom(16), body)])
        SqliteBroker.settle(self, [Settlement(own.receipt)])


class ReleaseRemovesFirst(_TwoSteps):
    """Does so with RELEASE."""

    wrong = Action.RELEASE


class DeadLetterRemovesFirst(_TwoSteps):
    """Removes a message and enqueues it again as a dead letter."""

    wrong = Action.DEAD_LETTER

    def two_steps(self, own: Settlement, body: bytes) -> None:
        """Go the long way round."""
        super().two_steps(own, body)
        leased = [one for one in SqliteBroker.lease(self, 1000, 0.0) if one.body == body]
        SqliteBroker.settle(self, [Settlement(one.receipt, Action.DEAD_LETTER) for one in leased])


class ForkKeepsTheOwner(SqliteBroker):
    """Leases in a fork for the owner that it was made with."""

    def after_fork(self, owner: bytes) -> bool:
        """Do not look at the new one."""
        return super().after_fork(b"a" * 16)


class RequeueRemovesFirst(SqliteBroker):
    """Removes dead letters and enqueues them again."""

    def requeue(self, ids: Sequence[str]) -> int:
        """Do it in two steps."""
        letters = [one for one in self.dead_letters(1000) if one.id in ids]
        self.delete(ids)
        self.enqueue([Outgoing(os.urandom(16), one.body) for one in letters])
        return len(letters)


class RequeueAddsFirst(SqliteBroker):
    """Enqueues dead letters again and then removes them, and calls that one step."""

    def requeue(self, ids: Sequence[str]) -> int:
        """Do it in two steps."""
        letters = [one for one in self.dead_letters(1000) if one.id in ids]
        self.enqueue([Outgoing(os.urandom(16), one.body) for one in letters])
        return self.delete(ids)

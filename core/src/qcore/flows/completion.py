"""What is to be written once a message has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qcore.hookspecs import SettledEvent  # noqa: TC001 - read at run time by msgspec
from qcore.messages.workflow import FollowUp  # noqa: TC001 - read at run time by msgspec
from qcore.model import Settlement, StoredResult  # noqa: TC001 - read at run time by msgspec
from qcore.settle import redeliver

if TYPE_CHECKING:
    from collections.abc import Iterable


class Completion(msgspec.Struct, gc=False):
    """One ended message: its result, its follow-up messages, its settlement, its event."""

    #: None = no worker holds the message, because it was removed from the queue
    settlement: Settlement | None = None
    #: saved before the follow-up messages are enqueued; None = nothing is saved
    result: StoredResult | None = None
    follow_up: FollowUp | None = None
    #: saved instead of `result` where a redelivery has to enqueue the follow-up messages
    reopened_result: StoredResult | None = None
    #: what hooks are given once the settlement is durable
    event: SettledEvent | None = None

    def reopen(self) -> None:
        """Leave the follow-up messages to the next delivery, if there are any."""
        if self.follow_up is not None and self.settlement is not None:
            self.settlement = redeliver_after_result(self.settlement)
            self.result = self.reopened_result or self.result
            self.follow_up = None


def completions_of(ended: Iterable[object]) -> list[Completion]:
    """Return the completions among what has ended."""
    return [one for one in ended if isinstance(one, Completion)]


def redeliver_after_result(settlement: Settlement) -> Settlement:
    """Return the settlement that redelivers a message whose result is stored, in place of the given one.

    The follow-up messages may have been enqueued already, in a call that was made and not answered,
    or by a worker that died before it could say so. The lease decides: if it has ended, nothing
    happens. Otherwise whoever leases the message next finds the result and continues from it.
    """
    return redeliver(settlement.failures, settlement.crashes).settlement(settlement.receipt)

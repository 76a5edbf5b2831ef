"""One leased message, and whether it may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.model import Kind, State
from qcore.settle import worn_out

if TYPE_CHECKING:
    from qcore.envelope import Opened
    from qcore.model import Delivery, StoredResult
    from qcore.plan import Plan


class Entry:
    """One verified message of a batch and the plan to run it."""

    __slots__ = ("crashes", "deliveries", "failures", "opened", "plan", "receipt")

    def __init__(self, delivery: Delivery, opened: Opened, plan: Plan) -> None:
        self.opened = opened
        self.plan = plan
        self.receipt = delivery.receipt
        self.deliveries = delivery.deliveries
        self.failures = delivery.failures
        self.crashes = delivery.crashes


def hindrance(
    one: Entry, before: StoredResult | None, came: Delivery, now: float, *, renew: bool
) -> tuple[Kind | None, str]:
    """Return why a message is not to be run, None if it is.

    Args:
        one: the message.
        before: what is stored of an earlier run.
        came: its delivery.
        now: epoch seconds.
        renew: leases are prolonged while a task runs.

    """
    if 0 < one.opened.expires < now * 1000:
        late = now - one.opened.expires / 1000
        return Kind.EXPIRED, f"it expired {late:.1f} seconds before a worker came to it"
    if one.deliveries == 1:
        return None, ""
    if before is not None and before.state is State.SUCCESS:
        # Without renewal the specification holds to the letter: a message that was waiting
        # again before the success came is run.
        if renew or not 0 < came.available < before.finished:
            return Kind.ALREADY_SUCCEEDED, ""
    elif before is not None and before.state is State.FAILED:
        return Kind.ALREADY_FAILED, ""
    why = worn_out(one.plan.rules, deliveries=one.deliveries, failures=one.failures, crashes=one.crashes)
    return (Kind.CRASH, why) if why else (None, "")

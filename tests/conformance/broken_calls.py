"""Brokers that do something else in one call."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.model import Action, Outgoing, Settlement
from qcore_testing.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Delivery

changed = msgspec.structs.replace
#: longer than what is to happen at once may take in a hurried test
_LONG: Final = 1.2


def wrong(call: str, instead: Callable[..., Any], kind: type = MemoryBroker) -> type:
    """Return a broker that does something else in one of its calls."""
    return type(f"Wrong_{call}", (kind,), {call: instead})


def claims(**capabilities: Any) -> type[MemoryBroker]:
    """Return a broker that claims something else than it does."""

    def make(self: MemoryBroker, *args: Any, **fields: Any) -> None:
        MemoryBroker.__init__(self, *args, **fields)
        self.capabilities = attrs.evolve(self.capabilities, **capabilities)

    return wrong("__init__", make)


def enqueues(**fields: Any) -> type[MemoryBroker]:
    """Return a broker that changes each message that it accepts."""
    return wrong(
        "enqueue", lambda self, all_: MemoryBroker.enqueue(self, [changed(one, **fields) for one in all_])
    )


def leases(change: Callable[[Any], None]) -> type[MemoryBroker]:
    """Return a broker that changes what it keeps of a message that is leased."""

    def lease(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
        found = MemoryBroker.lease(self, limit, wait)
        for one in found:
            change(self._queue._leased[one.receipt])
        return found

    return wrong("lease", lease)


def settles(action: Action, change: Callable[[Any], None]) -> type[MemoryBroker]:
    """Return a broker that changes what it keeps of a message in one kind of settlement."""

    def settle(self: MemoryBroker, settlements: Sequence[Settlement]) -> None:
        for one in settlements:
            if one.action is action and one.receipt in self._queue._leased:
                change(self._queue._leased[one.receipt])
        MemoryBroker.settle(self, settlements)

    return wrong("settle", settle)


def _forget_queue(message: Any) -> None:
    message.queue = ""


def _forget_failures(message: Any) -> None:
    message.failures = 0


def _settle_all_alike(self: MemoryBroker, settlements: Sequence[Settlement]) -> None:
    MemoryBroker.settle(self, [changed(one, action=settlements[0].action) for one in settlements])


def _retry_again(self: MemoryBroker, settlements: Sequence[Settlement]) -> None:
    """Take each settlement for a new one."""
    known: dict[bytes, bytes] = self._queue.__dict__.setdefault("bodies", {})
    known.update((receipt, one.body) for receipt, one in self._queue._leased.items())
    for one in settlements:
        if one.action is not Action.ACK and one.receipt not in self._queue._leased and one.receipt in known:
            MemoryBroker.enqueue(self, [Outgoing(os.urandom(16), known[one.receipt])])
    MemoryBroker.settle(self, settlements)


def _extend_or_raise(self: MemoryBroker, receipts: Sequence[bytes], seconds: float) -> None:
    if unknown := [one for one in receipts if one not in self._queue._leased]:
        raise ValueError(unknown)
    MemoryBroker.extend(self, receipts, seconds)


def _extend_the_ended(self: MemoryBroker, receipts: Sequence[bytes], seconds: float) -> None:
    """Hide the message again, whoever has it now."""
    MemoryBroker.extend(self, receipts, seconds)
    for one in self._queue._waiting.remove(lambda message: message.receipt in receipts):
        one.due = time.monotonic() + seconds
        self._queue._waiting.add(one)


def _hold_up_all(self: MemoryBroker, messages: Sequence[Outgoing]) -> None:
    most = max((one.delay for one in messages), default=0.0)
    MemoryBroker.enqueue(self, [changed(one, delay=most) for one in messages])


def _lose_routes_of_the_delayed(self: MemoryBroker, messages: Sequence[Outgoing]) -> None:
    MemoryBroker.enqueue(self, [changed(one, queue="") if one.delay else one for one in messages])


def _lease_of_all(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    return self._queue.take(limit, wait, self._retry, self._owner)


def _lease_of_the_first(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    order = None if self._order is None else list(self._order.next())[:1]
    return self._queue.take(limit, wait, self._retry, self._owner, order)


def _lease_the_same_first(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    return self._queue.take(limit, wait, self._retry, self._owner, ["", "mail", "reports"])


def _sleep_and_lease(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    if not (found := MemoryBroker.lease(self, limit, 0.0)):
        time.sleep(min(wait, _LONG))
        found = MemoryBroker.lease(self, limit, 0.0)
    return found


def _wait_at_least(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    return MemoryBroker.lease(self, limit, max(wait, _LONG))


def _one_receipt(self: MemoryBroker, limit: int, wait: float) -> Sequence[Delivery]:
    found = MemoryBroker.lease(self, limit, wait)
    return [changed(one, receipt=found[0].receipt) for one in found]


def _commit_and_wait(self: MemoryBroker, *how: Any) -> Sequence[Delivery]:
    time.sleep(_LONG)
    return MemoryBroker.commit_and_lease(self, *how)


def _purge_and_keep_ids(self: MemoryBroker) -> int:
    ids = set(self._queue._ids)
    count = MemoryBroker.purge(self)
    self._queue._ids |= ids
    return count


def _requeue_once(self: MemoryBroker, ids: Sequence[str]) -> int:
    count = MemoryBroker.requeue(self, ids)
    self._queue.__dict__["requeued"] = True
    return count


def _settle_once(self: MemoryBroker, settlements: Sequence[Settlement]) -> None:
    if self._queue.__dict__.get("requeued"):
        settlements = [Settlement(one.receipt) for one in settlements]
    MemoryBroker.settle(self, settlements)


class _DiesOnce(wrong("requeue", _requeue_once)):  # type: ignore[misc]  # made at run time
    """Drops what is to become a dead letter a second time."""

    settle = _settle_once


def _letters_from_the_start(self: MemoryBroker, limit: int = 100, after: str | None = None) -> Any:
    found = MemoryBroker.dead_letters(self, limit, after)
    there = [one.id for one in MemoryBroker.dead_letters(self)]
    return found if after is None or after in there else MemoryBroker.dead_letters(self, limit)


def _move_copies(self: MemoryBroker, source: str, target: str) -> int:
    found = self._queue.waiting(1000, source)
    MemoryBroker.enqueue(
        self, [Outgoing(os.urandom(16), one.body, one.delay, target, one.priority) for one in found]
    )
    return len(found)


def _look_and_take(self: MemoryBroker, limit: int, queue: str | None = None) -> Any:
    found = self._queue.waiting(limit, queue)
    MemoryBroker.lease(self, 1, 0.0)
    return found


def _peek_and_take(self: MemoryBroker) -> bytes | None:
    found = MemoryBroker.lease(self, 1, 0.0)
    return found[0].body if found else None


def _remove_where_it_stands(self: MemoryBroker, ids: Sequence[bytes]) -> Any:
    return [one.body for one in self._queue._drop(lambda message: any(id_ in message.body for id_ in ids))]


def _twice(self: MemoryBroker) -> None:
    if self.__dict__.setdefault("closed", False):
        raise ValueError("closed already")
    self.__dict__["closed"] = True


def _route_of_default(self: MemoryBroker, *how: Any) -> Any:
    *rest, then = how if len(how) == 5 else (*how, ())
    return B.commit_and_lease(self, *rest, [changed(one, queue="") for one in then])


B: Final[Any] = MemoryBroker
#: what is broken, the test that must say so, and its parameters
IN_MEMORY: Final[list[tuple[Any, ...]]] = [
    (wrong("enqueue", _hold_up_all), "test_a_delayed_message_does_not_hold_up_others"),
    (enqueues(queue=""), "test_queues_are_counted"),
    (enqueues(priority=0), "test_a_higher_priority_is_leased_first"),
    (enqueues(priority=0), "test_priorities_are_told_apart"),
    (enqueues(priority=0), "test_a_priority_gets_past_many_others"),
    (enqueues(body=b"cut"), "test_the_largest_body_goes_through"),
    (wrong("enqueue", _lose_routes_of_the_delayed), "test_a_delay_keeps_queue_and_priority"),
    (settles(Action.RETRY, _forget_queue), "test_a_message_comes_back_to_its_queue"),
    (settles(Action.RELEASE, _forget_queue), "test_a_message_comes_back_to_its_queue"),
    (settles(Action.DEAD_LETTER, _forget_queue), "test_a_dead_letter_comes_back_to_its_queue"),
    (leases(_forget_queue), "test_an_expired_lease_comes_back_to_its_queue"),
    (leases(_forget_queue), "test_leases_of_a_dead_process_are_released"),
    (leases(_forget_failures), "test_counters_outlive_a_lost_lease"),
    (wrong("lease", _lease_of_all), "test_the_default_queue_is_left_alone"),
    (wrong("lease", _lease_of_all), "test_queues_are_leased_in_their_order"),
    (wrong("lease", _lease_of_all), "test_weights_are_a_proportion"),
    (wrong("lease", _lease_of_the_first), "test_a_wait_ends_when_a_message_comes"),
    (wrong("lease", _sleep_and_lease), "test_a_wait_ends_when_a_message_comes"),
    (wrong("lease", _lease_the_same_first), "test_none_starves_without_an_order"),
    (
        wrong("lease", lambda self, limit, _: B.lease(self, limit, 0.0)),
        "test_a_waiting_lease_gets_what_comes",
    ),
    (wrong("lease", _sleep_and_lease), "test_what_follows_wakes_who_leases_its_queue"),
    (wrong("lease", _wait_at_least), "test_no_wait_is_no_wait"),
    (wrong("lease", _one_receipt), "test_each_lease_has_a_receipt_of_its_own"),
    (
        wrong("enqueue", lambda self, all_: B.enqueue(self, all_[:900])),
        "test_as_much_as_claimed_goes_in_one_call",
    ),
    (wrong("settle", _settle_all_alike), "test_a_mixed_batch_is_settled_one_by_one"),
    (wrong("settle", _retry_again), "test_a_settlement_may_be_repeated", Action.RETRY),
    (wrong("settle", _retry_again), "test_a_settlement_may_be_repeated", Action.DEAD_LETTER),
    (wrong("extend", _extend_or_raise), "test_ended_receipts_do_not_stop_the_others"),
    (wrong("extend", _extend_the_ended), "test_an_ended_lease_is_not_extended"),
    (wrong("commit_and_lease", _commit_and_wait), "test_commit_and_lease_does_not_wait"),
    (
        wrong(
            "commit_and_lease",
            lambda self, *how: B.commit_and_lease(self, *how[:3], max(1, how[3]), *how[4:]),
        ),
        "test_commit_and_lease_of_nothing_leases_nothing",
    ),
    (
        wrong("commit_and_lease", lambda self, *how: B.commit_and_lease(self, None, [], *how[2:])),
        "test_commit_and_lease_saves_settles_and_leases",
    ),
    (
        wrong("commit_and_lease", lambda self, *how: B.commit_and_lease(self, *how[:2], [], *how[3:])),
        "test_commit_and_lease_saves_settles_and_leases",
    ),
    (wrong("commit_and_lease", _route_of_default), "test_what_follows_goes_to_its_queue"),
    (wrong("purge", lambda self: self._queue.purge("")), "test_all_are_purged_together"),
    (wrong("purge", _purge_and_keep_ids), "test_a_purged_queue_takes_the_same_ids_again"),
    (wrong("purge_queue", lambda self, _: B.purge(self)), "test_one_queue_is_purged"),
    (wrong("clear", B.purge), "test_a_queue_is_cleared"),
    (wrong("move_queue", lambda self, *of: B.purge_queue(self, of[0])), "test_a_queue_is_moved"),
    (wrong("move_queue", _move_copies), "test_a_queue_is_moved"),
    (wrong("pause_queue", lambda *_, **__: None), "test_a_paused_queue_waits"),
    (wrong("queues", lambda _: []), "test_queues_are_counted"),
    (
        wrong("waiting", lambda self, *how: list(B.waiting(self, *how))[::-1]),
        "test_waiting_messages_are_looked_at",
    ),
    (wrong("waiting", _look_and_take), "test_waiting_messages_are_looked_at"),
    (wrong("peek", _peek_and_take), "test_the_oldest_message_is_shown"),
    (
        wrong("size", lambda self: changed(B.size(self), ready=1, leased=1)),
        "test_an_expired_lease_is_counted_once",
    ),
    (wrong("remove_messages", lambda *_: []), "test_all_messages_are_found_and_removed"),
    (wrong("remove_messages", _remove_where_it_stands), "test_an_unknown_message_is_passed_over"),
    (
        wrong("requeue", lambda self, ids: B.requeue(self, ids) and len(ids)),
        "test_unknown_letters_are_passed_over",
    ),
    (wrong("requeue", lambda self, _: B.requeue(self, ["1"]) or 1), "test_nothing_to_do_is_nothing_done"),
    (_DiesOnce, "test_a_requeued_message_can_be_dead_lettered_again"),
    (wrong("delete", lambda _, ids: len(ids)), "test_deleted_letters_are_gone"),
    (wrong("dead_letters", _letters_from_the_start), "test_a_list_of_letters_never_begins_anew"),
    (wrong("release_owner", lambda *_: 2), "test_leases_of_the_dead_are_released"),
    (
        wrong(
            "release_owner", lambda self, _: sum(B.release_owner(self, bytes([one]) * 16) for one in b"ad")
        ),
        "test_only_leases_of_the_dead_are_released",
    ),
    (
        wrong("publish_status", lambda self, _, *how: B.publish_status(self, os.urandom(9).hex(), *how)),
        "test_a_status_is_published",
    ),
    (wrong("enqueue_on", lambda *_: None), "test_a_transaction_that_it_cannot_join_is_refused"),
    (wrong("close", _twice), "test_close_may_be_repeated"),
    (wrong("queue_id", lambda _: os.urandom(9).hex()), "test_all_connections_name_the_queue_alike"),
    (wrong("info", lambda _: "x" * 201), "test_info_is_short"),
    (claims(redelivers=False), "test_claims_agree_with_one_another"),
    (claims(extend=False), "test_a_lease_is_extended_or_refused"),
    (claims(dead_letters=False), "test_a_message_is_dead_lettered_or_refused"),
    (claims(queues=False), "test_one_queue_refuses_the_calls_for_others"),
    (claims(priorities=1), "test_what_is_not_declared_is_refused"),
]

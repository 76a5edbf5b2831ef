"""The table of settlements, row by row and as a whole."""

from __future__ import annotations

from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.model import Action, Kind, Settlement, State
from qcore.settle import (
    MAX_CRASH_DELAY,
    MAX_DELIVERIES,
    MAX_UNKNOWN_KEY,
    Decision,
    Retry,
    Rules,
    dead_letter,
    decide,
    redeliver,
    redelivery_limit_reason,
    release_after,
)

pytestmark = pytest.mark.portable

ACK, RETRY, RELEASE, DEAD_LETTER = Action.ACK, Action.RETRY, Action.RELEASE, Action.DEAD_LETTER
SUCCESS, FAILED, RETRYING = State.SUCCESS, State.FAILED, State.RETRYING

#: how the run ended, what is special about the rules, what was charged before, what becomes of it
ROWS: Final[list[tuple[Kind, dict[str, Any], dict[str, Any], Action, State | None]]] = [
    (Kind.SUCCESS, {}, {}, ACK, SUCCESS),
    (Kind.SUCCESS, {"redelivers": False}, {}, ACK, SUCCESS),
    # ack_failures: the first failure is the last
    (Kind.FAILURE, {"ack_failures": True}, {}, ACK, FAILED),
    (Kind.TIMEOUT, {"ack_failures": True}, {}, ACK, FAILED),
    (Kind.FAILURE, {"ack_failures": True, "max_attempts": 5}, {}, ACK, FAILED),
    # attempts left
    (Kind.FAILURE, {}, {}, RETRY, RETRYING),
    (Kind.TIMEOUT, {}, {}, RETRY, RETRYING),
    (Kind.FAILURE, {}, {"failures": 10_000}, RETRY, RETRYING),
    (Kind.FAILURE, {"max_attempts": 3}, {"failures": 1}, RETRY, RETRYING),
    # attempts used up
    (Kind.FAILURE, {"max_attempts": 1}, {}, DEAD_LETTER, FAILED),
    (Kind.FAILURE, {"max_attempts": 3}, {"failures": 2}, DEAD_LETTER, FAILED),
    (Kind.TIMEOUT, {"max_attempts": 3}, {"failures": 2}, DEAD_LETTER, FAILED),
    (Kind.FAILURE, {"max_attempts": 3}, {"failures": 7}, DEAD_LETTER, FAILED),
    # the task's own policy asks for no other run
    (Kind.FAILURE, {"max_attempts": 9}, {"retryable": False}, DEAD_LETTER, FAILED),
    (Kind.FAILURE, {"max_attempts": 9, "ack_failures": True}, {"retryable": False}, ACK, FAILED),
    # nothing can be redelivered
    (Kind.FAILURE, {"redelivers": False}, {}, ACK, FAILED),
    (Kind.TIMEOUT, {"redelivers": False}, {}, ACK, FAILED),
    (Kind.CRASH, {"redelivers": False}, {}, ACK, FAILED),
    # crashes have a budget of their own
    (Kind.CRASH, {}, {}, RETRY, RETRYING),
    (Kind.CRASH, {}, {"crashes": 1}, RETRY, RETRYING),
    (Kind.CRASH, {}, {"crashes": 2}, DEAD_LETTER, FAILED),
    (Kind.CRASH, {"max_crashes": 1}, {}, DEAD_LETTER, FAILED),
    (Kind.CRASH, {"max_crashes": 0}, {"crashes": 10_000}, RETRY, RETRYING),
    (Kind.CRASH, {"ack_failures": True}, {}, RETRY, RETRYING),
    (Kind.CRASH, {"max_attempts": 1}, {}, RETRY, RETRYING),
    # it ran, and this says nothing about the task
    (Kind.RESULT_NOT_STORABLE, {}, {}, ACK, FAILED),
    (Kind.EXPIRED, {}, {}, ACK, FAILED),
    (Kind.SKIPPED, {}, {}, ACK, FAILED),
    # cancelled: whatever was counted before, and whatever its limits are
    (Kind.CANCELLED, {}, {}, ACK, FAILED),
    (Kind.CANCELLED, {"max_attempts": 9}, {"failures": 3, "crashes": 2}, ACK, FAILED),
    (Kind.CANCELLED, {"redelivers": False}, {}, ACK, FAILED),
    # a stop burns nothing
    (Kind.INTERRUPTED, {}, {"failures": 4, "crashes": 2}, RELEASE, None),
    # the task's own word: a counted run whatever the policy says, or one that burns nothing
    (Kind.FAILURE, {"ack_failures": True}, {"delay": 9.0}, RETRY, RETRYING),
    (Kind.FAILURE, {"max_attempts": 3}, {"delay": 9.0, "failures": 2}, DEAD_LETTER, FAILED),
    (Kind.FAILURE, {}, {"delay": 9.0, "retryable": False}, RETRY, RETRYING),
    (Kind.FAILURE, {"redelivers": False}, {"delay": 9.0}, ACK, FAILED),
    (Kind.POSTPONED, {"ack_failures": True, "max_attempts": 1}, {"delay": 9.0}, RELEASE, None),
    (Kind.POSTPONED, {"redelivers": False}, {"delay": 9.0}, ACK, FAILED),
    # never executed, never deleted silently
    (Kind.REJECTED, {}, {"reason": "BadSignature: altered"}, DEAD_LETTER, None),
    (Kind.REJECTED, {"ack_failures": True}, {}, DEAD_LETTER, None),
    # a new key may be on its way to this worker
    (Kind.UNKNOWN_KEY, {}, {"deliveries": 1}, RETRY, None),
    (Kind.UNKNOWN_KEY, {}, {"deliveries": MAX_UNKNOWN_KEY - 1}, RETRY, None),
    (Kind.UNKNOWN_KEY, {}, {"deliveries": MAX_UNKNOWN_KEY}, DEAD_LETTER, None),
    # it may run only once, and somebody else runs it
    (Kind.ALREADY_BEGUN, {}, {}, ACK, None),
    (Kind.REPLAYED, {}, {}, ACK, None),
    # it came back although it has ended
    (Kind.ALREADY_SUCCEEDED, {}, {"deliveries": 2}, ACK, None),
    (Kind.ALREADY_FAILED, {"ack_failures": True}, {"deliveries": 2}, ACK, None),
    (Kind.ALREADY_FAILED, {}, {"deliveries": 2}, DEAD_LETTER, None),
]

counters = st.integers(0, 50)
rules_ = st.builds(
    Rules,
    max_attempts=st.integers(0, 6),
    ack_failures=st.booleans(),
    max_crashes=st.integers(0, 6),
    retry=st.floats(0.01, 1e4),
    backoff=st.none() | st.floats(0, 1e6),
    max_delay=st.floats(0, 1e6),
    jitter=st.booleans(),
    max_deliveries=st.integers(0, 12),
    redelivers=st.booleans(),
)
calls = st.fixed_dictionaries(
    {
        "deliveries": st.integers(1, 100),
        "failures": counters,
        "crashes": counters,
        "retryable": st.booleans(),
        "chance": st.floats(0, 1, exclude_max=True),
        "reason": st.text(max_size=5),
        "delay": st.none() | st.floats(0, 1e6),
    }
)


@pytest.mark.parametrize(("kind", "special", "before", "action", "state"), ROWS)
def test_each_row_of_the_table_holds(
    kind: Kind, special: dict[str, Any], before: dict[str, Any], action: Action, state: State | None
) -> None:
    """An outcome under these rules is settled and stored as the design says."""
    decision = decide(kind, Rules(**special), **before)

    assert (action, state) == (decision.action, decision.state)


def test_the_rows_name_every_kind_of_end() -> None:
    """No kind of end is left out of the table above."""
    assert set(Kind) == {row[0] for row in ROWS}


@given(kind=st.sampled_from(Kind), rules=rules_, call=calls)
def test_counters_never_decrease(kind: Kind, rules: Rules, call: dict[str, Any]) -> None:
    """What RETRY and DEAD_LETTER write is what was charged before, or one more of one kind."""
    decision = decide(kind, rules, **call)

    more = (decision.failures - call["failures"], decision.crashes - call["crashes"])
    if decision.action in {RETRY, DEAD_LETTER} and kind is not Kind.ALREADY_FAILED:
        charged = {Kind.FAILURE: (1, 0), Kind.TIMEOUT: (1, 0), Kind.CRASH: (0, 1)}
        assert charged.get(kind, (0, 0)) == more


@given(kind=st.sampled_from(Kind), rules=rules_, call=calls)
def test_nothing_is_dead_lettered_without_a_reason(kind: Kind, rules: Rules, call: dict[str, Any]) -> None:
    """A dead letter always has a reason, and no other decision has one."""
    decision = decide(kind, rules, **call)

    assert (decision.action is DEAD_LETTER) == bool(decision.reason)


@given(kind=st.sampled_from(Kind), rules=rules_, call=calls)
def test_without_receipts_nothing_is_redelivered(kind: Kind, rules: Rules, call: dict[str, Any]) -> None:
    """A broker without receipts is never asked to redeliver a task that ran."""
    ran = {Kind.SUCCESS, Kind.FAILURE, Kind.TIMEOUT, Kind.CRASH}
    ran |= {Kind.RESULT_NOT_STORABLE, Kind.SKIPPED, Kind.CANCELLED}
    decision = decide(kind, attrs.evolve(rules, redelivers=False), **call)

    if kind in ran:
        assert decision.action == ACK


@given(kind=st.sampled_from(Kind), rules=rules_, call=calls)
def test_a_run_has_a_final_result_before_its_message_is_acknowledged(
    kind: Kind, rules: Rules, call: dict[str, Any]
) -> None:
    """A message that is redelivered has none."""
    decision = decide(kind, rules, **call)

    ended = {Kind.SUCCESS, Kind.FAILURE, Kind.TIMEOUT, Kind.CRASH, Kind.RESULT_NOT_STORABLE, Kind.EXPIRED}
    if kind in ended | {Kind.CANCELLED}:
        expected = {RETRYING} if decision.action is RETRY else {SUCCESS, FAILED}
        assert decision.state in expected


@given(kind=st.sampled_from(Kind), rules=rules_, call=calls)
def test_only_a_success_is_stored_as_one(kind: Kind, rules: Rules, call: dict[str, Any]) -> None:
    """No failure, whatever the rules, becomes a success."""
    decision = decide(kind, rules, **call)

    assert (kind is Kind.SUCCESS) == (decision.state is SUCCESS)


@given(rules=rules_, ends=st.lists(st.sampled_from([Kind.FAILURE, Kind.TIMEOUT, Kind.CRASH]), max_size=40))
def test_the_limits_are_exact_and_counted_apart(rules: Rules, ends: list[Kind]) -> None:
    """A message is dead-lettered by exactly the failure or crash that reaches its limit."""
    rules = attrs.evolve(rules, redelivers=True, ack_failures=False)
    failures = crashes = 0
    for kind in ends:
        decision = decide(kind, rules, failures=failures, crashes=crashes)
        failures += kind is not Kind.CRASH
        crashes += kind is Kind.CRASH
        budget, spent = (rules.max_crashes, crashes) if kind is Kind.CRASH else (rules.max_attempts, failures)

        assert (DEAD_LETTER if spent == budget else RETRY, failures, crashes) == (
            decision.action,
            decision.failures,
            decision.crashes,
        )
        if decision.action is DEAD_LETTER:
            return


@given(rules=rules_, call=calls)
def test_the_wait_before_another_attempt_is_bounded(rules: Rules, call: dict[str, Any]) -> None:
    """It is at most `retry`, or with a back-off of its own `max_delay`; jitter only shortens it."""
    decision = decide(Kind.FAILURE, rules, **call | {"delay": None})

    if decision.action is RETRY:
        most = rules.retry if rules.backoff is None else rules.max_delay
        least = most / 2 if rules.backoff is None else 0.0
        assert least <= decision.delay <= most


@pytest.mark.parametrize("kind", [Kind.FAILURE, Kind.POSTPONED])
def test_a_task_says_itself_when_it_runs_again(kind: Kind) -> None:
    """Its delay takes the place of every other: of `retry`, of the back-off, of its longest, of jitter."""
    rules = Rules(retry=60, backoff=5, max_delay=7, jitter=True)

    assert decide(kind, rules, delay=90.0, failures=3, chance=0.5).delay == 90.0


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "soon"])
def test_a_delay_that_is_none_is_refused_where_it_is_said(delay: Any) -> None:
    """The task sees the mistake as its own."""
    with pytest.raises((ValueError, TypeError), match="delay"):
        Retry.later(delay)


@pytest.mark.parametrize(("failures", "delay"), [(0, 2.0), (1, 4.0), (2, 8.0), (3, 16.0), (6, 100.0)])
def test_back_off_doubles_up_to_its_cap(failures: int, delay: float) -> None:
    """The task's own back-off doubles with each failure."""
    rules = Rules(backoff=2.0, max_delay=100.0)

    assert delay == decide(Kind.FAILURE, rules, failures=failures).delay


def test_back_off_after_very_many_failures_does_not_overflow() -> None:
    """A task that fails for years still gets its wait."""
    assert decide(Kind.FAILURE, Rules(backoff=1e-3), failures=10**6).delay == 3600.0


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 30.0), (0.5, 45.0), (1.0, 60.0)])
def test_jitter_spreads_the_wait_over_its_second_half(chance: float, delay: float) -> None:
    """The wait is between half of it and all of it, evenly."""
    rules = Rules(retry=60.0, jitter=True)

    assert delay == decide(Kind.FAILURE, rules, chance=chance).delay


@pytest.mark.parametrize(("crashes", "delay"), [(0, 0.0), (1, 2.0), (2, 4.0), (3, 8.0), (9, MAX_CRASH_DELAY)])
def test_the_first_crash_adds_no_wait_and_later_ones_more_and_more(crashes: int, delay: float) -> None:
    """A worker that somebody killed does not delay its task; a task that kills workers is delayed."""
    rules = Rules(max_crashes=0)

    assert delay == decide(Kind.CRASH, rules, crashes=crashes).delay


def test_a_rejected_message_keeps_its_reason() -> None:
    """The dead letter says what was wrong with it."""
    decision = decide(Kind.REJECTED, Rules(), failures=2, crashes=1, reason="BadSignature: altered")

    assert Decision(DEAD_LETTER, None, 0.0, "BadSignature: altered", 2, 1) == decision


def test_an_interruption_changes_no_counter() -> None:
    """A release has no counters: the broker keeps its own."""
    assert Decision(RELEASE) == decide(Kind.INTERRUPTED, Rules(), deliveries=9, failures=3, crashes=2)


# -- what must not be tried once more ---------------------------------------------------------


@given(
    rules=rules_,
    deliveries=st.integers(1, 40),
    failures=st.integers(0, 40),
    crashes=st.integers(0, 8),
)
def test_a_message_reaches_its_limit_by_crashes_or_by_unexplained_deliveries(
    rules: Rules, deliveries: int, failures: int, crashes: int
) -> None:
    """Each counts against its own limit; failures count against neither."""
    why = redelivery_limit_reason(rules, deliveries=deliveries, failures=failures, crashes=crashes)

    silent = deliveries - 1 - failures - crashes
    crashed = rules.max_crashes and crashes >= rules.max_crashes
    forgotten = rules.max_deliveries and silent >= rules.max_deliveries
    assert bool(crashed or forgotten) == bool(why)


def test_a_message_that_fails_for_ever_reaches_no_delivery_limit() -> None:
    """Runs that ended in a result are not unexplained deliveries, however many there are."""
    assert redelivery_limit_reason(Rules(), deliveries=10_001, failures=10_000, crashes=0) == ""


def test_a_message_that_kills_machines_reaches_the_delivery_limit() -> None:
    """Machines that die on it leave nothing but deliveries, which are limited."""
    deliveries = MAX_DELIVERIES + 1

    assert redelivery_limit_reason(Rules(), deliveries=deliveries - 1, failures=0, crashes=0) == ""
    assert "delivered 11 times" in redelivery_limit_reason(
        Rules(), deliveries=deliveries, failures=0, crashes=0
    )


@pytest.mark.parametrize(("crashes", "told"), [(1, "1 time "), (2, "2 times ")])
def test_a_single_crash_is_told_in_the_singular(crashes: int, told: str) -> None:
    """The number agrees with its noun."""
    why = redelivery_limit_reason(Rules(max_crashes=crashes), deliveries=1, failures=0, crashes=crashes)

    assert why.startswith(f"crashed its worker {told}")


# -- the policy a user writes -----------------------------------------------------------------


@pytest.mark.parametrize("field", ["max_attempts", "backoff", "max_delay"])
def test_a_negative_number_in_a_policy_is_refused_by_name(field: str) -> None:
    """The error names the field and the value."""
    with pytest.raises(ValueError, match=rf"^{field} must be 0 or more.* got -1$"):
        Retry(**{field: -1})  # type: ignore[arg-type]  # the field is the test's


def test_a_policy_sets_only_what_it_was_given() -> None:
    """The configuration decides the rest."""
    assert (None, None, False, (Exception,)) == (
        Retry().max_attempts,
        Retry().backoff,
        Retry().jitter,
        Retry().on,
    )


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision(ACK, SUCCESS), Settlement(b"r")),
        (release_after(2.5), Settlement(b"r", RELEASE, 2.5)),
        (redeliver(3, 1), Settlement(b"r", RETRY, failures=3, crashes=1)),
        (Decision(RETRY, RETRYING, 9.0, "", 2, 1), Settlement(b"r", RETRY, 9.0, "", 2, 1)),
        (dead_letter("why", 2, 3), Settlement(b"r", DEAD_LETTER, 0.0, "why", 2, 3)),
    ],
)
def test_a_decision_makes_its_settlement(decision: Decision, expected: Settlement) -> None:
    """Action, delay, reason and counters are those of the decision."""
    assert decision.settlement(b"r") == expected


def test_the_error_is_added_to_the_reason_of_a_dead_letter_only() -> None:
    """No other settlement has a reason."""
    assert dead_letter("failure in attempt 1", 1, 0).because("ValueError: no").reason == (
        "failure in attempt 1: ValueError: no"
    )
    assert redeliver(1, 0).because("ValueError: no") == redeliver(1, 0)

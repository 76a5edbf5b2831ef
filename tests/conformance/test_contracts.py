"""The kit is whole, and it bites."""

from __future__ import annotations

import inspect
import re
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import coordination as shared
from qcore import interfaces
from qcore.errors import BackendError
from qcore.interfaces import Settings
from qcore.model import Action, State
from qcore_json import JsonSerializer
from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSettings
from qcore_sqlite.database import Database
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    ErrorReporterContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
    SerializerContract,
    TaskTransactionContract,
    TransactionContract,
)
from qcore_testing.broker.signals import Rung
from qcore_testing.memory import MemoryBroker, MemoryResults, MemorySchedules, MemoryServer
from qcore_testing.memory.coordination import MemoryCoordination
from tests.conformance import broken, broken_coordination
from tests.conformance.running import each, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore_sqlite.coordination import SqliteCoordination

pytestmark = pytest.mark.portable

CONTRACTS: Final = {
    interfaces.Broker: (BrokerContract, CommitContract, TransactionContract, TaskTransactionContract),
    interfaces.ResultStore: (ResultStoreContract,),
    shared.CoordinationStore: (CoordinationStoreContract,),
    interfaces.Serializer: (SerializerContract,),
    interfaces.ErrorReporter: (ErrorReporterContract,),
    interfaces.ScheduleStore: (ScheduleStoreContract, FireContract),
}


def flat(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def sentences(interface: type) -> Iterator[str]:
    """Yield what an interface's docstrings oblige to: their bullets, or the summary where there are none."""
    for method in vars(interface).values():
        text = inspect.cleandoc(getattr(method, "__doc__", None) or "") if inspect.isfunction(method) else ""
        bullets = re.findall(r"^- (.+(?:\n  .+)*)", text, re.MULTILINE)
        yield from map(flat, bullets or [text.partition("\n\n")[0]] if text else [])


def obligations() -> list[Any]:
    """Every sentence with the contracts that must try it."""
    return [
        pytest.param(contracts, sentence, id=f"{interface.__name__}: {sentence[:50]}")
        for interface, contracts in CONTRACTS.items()
        for sentence in sentences(interface)
    ]


@pytest.mark.parametrize(("contracts", "sentence"), obligations())
def test_every_obligation_has_a_test(contracts: tuple[type, ...], sentence: str) -> None:
    """Each sentence of the interfaces is quoted by a test of the kit."""
    tests = [
        flat(test.__doc__ or "")
        for contract in contracts
        for name, test in inspect.getmembers(contract, inspect.isfunction)
        if name.startswith("test_")
    ]

    assert any(sentence in text for text in tests)


def test_the_obligations_are_found() -> None:
    """The check above sees what it is meant to see."""
    found = list(sentences(interfaces.Broker))

    assert "ACK removes the message for good." in found
    assert (
        "Messages without delay are leased in the order they were accepted, as far as the backend"
        " keeps order at all."
    ) in found
    assert "Count the messages by state." in found
    assert len(obligations()) > 50


ACK, DEAD_LETTER = Action.ACK, Action.DEAD_LETTER
#: what is broken, the test that must say so, and its parameters
BROKERS: Final = [
    (broken.AckKeeps, "test_ack_removes"),
    (broken.TimeInMilliseconds, "test_the_server_s_time_is_read"),
    (broken.TimeIsRemembered, "test_the_server_s_time_is_read"),
    (broken.RetryLoses, "test_retry_presents_it_again"),
    (broken.RetryForgetsCounters, "test_counters_are_absolute"),
    (broken.RetryIgnoresDelay, "test_retry_waits"),
    (broken.RetryIgnoresDelay, "test_release_waits"),
    (broken.ReleaseCounts, "test_release_is_as_if_never_leased"),
    (broken.DeadLetterDropsReason, "test_a_dead_letter_keeps_reason_and_counters"),
    (broken.UnknownReceiptRaises, "test_a_receipt_that_never_was_is_passed_over", ACK),
    (broken.FirstUnknownStops, "test_a_mixed_batch_with_ended_leases_is_settled"),
    (broken.StaleReceiptCounts, "test_an_expired_receipt_changes_nothing", ACK),
    (broken.StaleReceiptCounts, "test_an_expired_receipt_changes_nothing", DEAD_LETTER),
    (broken.OneReceiptForAll, "test_an_expired_lease_goes_to_another"),
    (broken.LeaseIsShared, "test_a_leased_message_is_nobody_elses"),
    (broken.LeaseLastsForEver, "test_an_expired_lease_goes_to_another"),
    (broken.LeaseEndsEarly, "test_a_leased_message_is_nobody_elses"),
    (broken.DeliveriesAreNotCounted, "test_deliveries_counts_the_leases"),
    (broken.LimitIsIgnored, "test_no_more_is_handed_out_than_asked_for"),
    (broken.EmptyIsNotWaitedFor, "test_an_empty_queue_is_waited_for"),
    (broken.BatchIsWaitedFor, "test_what_is_ready_is_handed_out_at_once"),
    (broken.BlockingPolls, "test_a_blocking_lease_is_woken"),
    (broken.SignalIsEaten, "test_a_signal_gets_out_of_the_wait", Rung),
    (broken.EnqueueDropsTheLast, "test_all_are_accepted_or_an_error_is_raised"),
    (broken.EnqueueStopsAtBulk, "test_more_than_fits_one_request_is_split"),
    (broken.EnqueueNeedsOne, "test_an_empty_call_changes_nothing"),
    (broken.SettleNeedsOne, "test_nothing_settled_or_extended_changes_nothing"),
    (broken.ReceiptsAreItsOwn, "test_another_connection_may_settle"),
    (broken.EnqueueTurnsRound, "test_messages_are_leased_in_the_order_they_came"),
    (broken.EnqueueIgnoresDelay, "test_a_delayed_message_waits"),
    (broken.EnqueueIsText, "test_bodies_come_back_as_they_were"),
    (broken.IdsAreNotUnique, "test_an_id_that_is_queued_is_not_queued_twice"),
    (broken.DelayIsDeniedAndTaken, "test_a_delay_is_honoured_or_refused"),
    (broken.MaxBytesIsALie, "test_a_message_too_large_raises_an_error"),
    (broken.ExtendDoesNothing, "test_an_extended_lease_lasts"),
    (broken.ExtendIsForEver, "test_an_extended_lease_ends"),
    (broken.PurgeTakesTheDead, "test_purge_leaves_leases_and_dead_letters"),
    (broken.PurgeLeavesTheDelayed, "test_purge_leaves_leases_and_dead_letters"),
    (broken.SizeCountsTheLeased, "test_messages_are_counted_by_state"),
    (broken.DeadAreNewestFirst, "test_dead_letters_are_listed_oldest_first"),
    (broken.RequeueKeepsCounters, "test_a_requeued_letter_begins_anew"),
    (broken.CommitAcksFirst, "test_nothing_is_settled_unless_results_are_saved"),
    (broken.CommitForgetsFollowUps, "test_commit_and_lease_enqueues_follow_ups"),
    (broken.CommitForgetsFollowUps, "test_who_waits_is_woken_by_what_follows", 0),
    (broken.CommitEnqueuesTooEarly, "test_nothing_is_settled_unless_results_are_saved"),
    (broken.CommitSettlesTooEarly, "test_nothing_is_settled_unless_what_follows_is_enqueued"),
    (broken.CommitIgnoresDelay, "test_what_follows_may_follow_later"),
    (broken.RemoveTakesNothing, "test_ready_messages_are_removed"),
    (broken.RemoveTakesNothing, "test_returned_messages_are_removed"),
    (broken.RemoveTakesNothing, "test_an_expired_lease_does_not_hold_a_message"),
    (broken.RemoveLeavesThem, "test_ready_messages_are_removed"),
    (broken.RemoveReversesTheOrder, "test_ready_messages_are_removed"),
    (broken.FindSeesTheReadyOnly, "test_a_message_is_found_in_any_state"),
    (broken.FindRemembersAll, "test_a_message_is_found_in_any_state"),
    (broken.FindRemembersAll, "test_a_message_that_is_gone_is_not_found"),
    (broken.RemoveLooksAtTheReady, "test_delayed_messages_are_removed"),
    (broken.RemoveTakesTheLeased, "test_leased_messages_stay"),
    (broken.RemoveTakesDeadLetters, "test_dead_letters_stay"),
    (broken.RemoveKeepsTheIds, "test_a_removed_message_may_be_enqueued_again"),
    (broken.RemoveIsDenied, "test_without_the_capability_nothing_is_removed"),
    (broken.StatusHasNoEnd, "test_an_expired_status_is_not_shown"),
    (broken.ReadsBodies, "test_bytes_that_nobody_signed_are_handed_on", None),
    (broken.ReasonIsEncoded, "test_bytes_that_nobody_signed_are_handed_on", None),
]
STORES: Final = [
    (broken.LastResultWins, "test_a_success_is_final"),
    (broken.LastResultWins, "test_a_result_is_replaced_by_rank", State.FAILED, State.RETRYING),
    (broken.ExpiredIsReturned, "test_expired_results_are_not_returned"),
    (broken.WaitTakesAnything, "test_a_terminal_result_is_waited_for", State.SUCCESS),
    (broken.PruneTakesFailures, "test_failures_are_not_pruned"),
    (broken.PruneTakesAllForNone, "test_only_what_has_expired_is_pruned"),
    (broken.PruneTakesAllForNone, "test_a_kind_may_be_kept_whole_or_not_at_all", "group"),
    (broken.PruneKnowsNoKinds, "test_successes_are_pruned_of_each_kind", "group"),
    (broken.PruneKnowsNoKinds, "test_successes_are_pruned_of_each_kind", "label"),
    (broken.PruneKnowsNoKinds, "test_successes_are_pruned_of_each_kind", "name"),
    (broken.PruneKeepsWhatHasNoKind, "test_successes_are_pruned_of_each_kind", "label"),
    (broken.UngroupDeletes, "test_a_group_may_be_dissolved"),
    (broken.UngroupLies, "test_a_group_may_be_dissolved"),
    (broken.LabelIsDropped, "test_everything_about_a_result_is_kept"),
]
COORDINATION: Final = [
    (broken_coordination.ClearLeavesFlags, "test_all_is_removed"),
    (broken_coordination.PutKeepsTheFirst, "test_a_mark_is_kept"),
    (broken_coordination.FlagsStay, "test_a_mark_is_forgotten_in_time"),
    (broken_coordination.FlagsEndEarly, "test_a_mark_is_forgotten_in_time"),
    (broken_coordination.LookLeavesOut, "test_marks_come_in_the_order_asked_for"),
    (broken_coordination.LimitIsOneMore, "test_places_are_taken_until_there_are_none"),
    (broken_coordination.LastHolderIsTold, "test_places_are_taken_until_there_are_none"),
    (broken_coordination.AskingAgainIsComingAnew, "test_places_are_taken_until_there_are_none"),
    (broken_coordination.AskingAgainProlongsNothing, "test_a_holder_keeps_its_place"),
    (broken_coordination.PlacesStay, "test_an_expired_permit_is_free"),
    (broken_coordination.AnybodyReleases, "test_released_places_are_free"),
    (broken_coordination.BurstIsIgnored, "test_turns_have_their_distance"),
    (broken_coordination.BurstHasNoEnd, "test_what_was_not_used_counts"),
    (broken_coordination.TurnsAreNotRemembered, "test_a_holder_is_told_of_the_same_turn"),
    (broken_coordination.TurnsComeForEver, "test_a_turn_comes_once"),
    (broken_coordination.ComingAgainCounts, "test_members_are_counted"),
    (broken_coordination.LastBodyWins, "test_members_are_counted"),
    (broken_coordination.CountIsOfBefore, "test_the_last_of_one_call_knows"),
    (broken_coordination.GatheringsStay, "test_an_expired_barrier_is_forgotten"),
    (broken_coordination.GatheringsEndWithTheFirst, "test_a_barrier_lasts_from_its_last_arrival"),
    (broken_coordination.DisbandDoesNothing, "test_a_cleared_barrier_is_forgotten"),
]
SCHEDULES: Final = [
    (broken.BytesAreCut, "test_a_schedule_is_kept_whole"),
    (broken.AddReplaces, "test_a_schedule_is_not_replaced_by_name"),
    (broken.HintsAreCompared, "test_what_a_schedule_is_found_by_is_not_compared"),
    (broken.NameIsAPrefix, "test_a_schedule_is_found_by_name"),
    (broken.ClaimIsShared, "test_a_claimed_schedule_is_nobody_elses"),
    (broken.AdvanceIsBlind, "test_a_slot_is_advanced_once"),
]
SERIALIZERS: Final = [
    (broken.RaisesItsOwn, "test_bad_bytes_raise_decode_error"),
    (broken.TellsNoPath, "test_the_culprit_is_named", [threading.Lock()], "[0]"),
    (broken.LosesFloats, "test_plain_values_come_back"),
]


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(BROKERS))
def test_a_broken_broker_fails(wrong: type[MemoryBroker], test: str, parameters: tuple[Any, ...]) -> None:
    """Each broker that is wrong in one way fails a test that the sound one passes."""

    def maker(kind: type[MemoryBroker]) -> Callable[..., MemoryBroker]:
        queue = MemoryServer().queue("kit")
        return lambda retry=60.0, **_: kind(queue, retry=retry, backend="kit")

    if wrong is not broken.MaxBytesIsALie:
        run(BrokerContract, test, maker(MemoryBroker), parameters)
    with pytest.raises((AssertionError, ValueError, IndexError, BackendError, pytest.fail.Exception)):
        run(BrokerContract, test, maker(wrong), parameters)


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(STORES))
def test_a_broken_store_fails(wrong: type[MemoryResults], test: str, parameters: tuple[Any, ...]) -> None:
    """Each store that is wrong in one way fails a test that the sound one passes."""

    def maker(kind: type[MemoryResults]) -> Callable[..., MemoryResults]:
        table = MemoryServer().results("kit")
        return lambda **_: kind(table, backend="kit")

    run(ResultStoreContract, test, maker(MemoryResults), parameters)
    with pytest.raises(AssertionError):
        run(ResultStoreContract, test, maker(wrong), parameters)


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(COORDINATION))
def test_broken_coordination_fails(
    wrong: type[MemoryCoordination], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each coordination store that is wrong in one way fails a test that the sound one passes."""

    def maker(kind: type[MemoryCoordination]) -> Callable[..., MemoryCoordination]:
        made: defaultdict[str, MemoryCoordination] = defaultdict(kind)
        return lambda *, name="": made[name]

    run(CoordinationStoreContract, test, maker(MemoryCoordination), parameters)
    with pytest.raises(AssertionError):
        run(CoordinationStoreContract, test, maker(wrong), parameters)


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (broken_coordination.AcquireIsTwoSteps, "test_of_many_that_ask_at_once_only_so_many_are_let_in"),
        (broken_coordination.AcquireIsTwoSteps, "test_no_more_are_inside_at_any_moment"),
        (broken_coordination.ReserveIsTwoSteps, "test_many_that_ask_at_once_have_turns_of_their_own"),
        (broken_coordination.ArriveIsTwoSteps, "test_the_last_of_many_processes_knows"),
        (broken_coordination.CoordinationIsInMemory, "test_notes_survive_whoever_made_them"),
    ],
)
def test_state_that_processes_do_not_share_fails(
    wrong: type[SqliteCoordination], test: str, tmp_path: Path
) -> None:
    """What goes wrong when processes come at once is found."""

    def make() -> SqliteCoordination:
        sections = {"sqlite": SqliteSettings(path=tmp_path / "kit.db")}
        return wrong(Database(Settings(name="kit", sections=sections)))

    with pytest.raises(AssertionError):
        run(CoordinationStoreContract, test, make, ())


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(SCHEDULES))
def test_a_broken_scheduler_fails(
    wrong: type[MemorySchedules], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each schedule store that is wrong in one way fails a test that the sound one passes."""

    def maker(kind: type[MemorySchedules]) -> Callable[..., MemorySchedules]:
        table = MemoryServer().schedules("kit")
        return lambda: kind(table, backend="kit")

    run(ScheduleStoreContract, test, maker(MemorySchedules), parameters)
    with pytest.raises(AssertionError):
        run(ScheduleStoreContract, test, maker(wrong), parameters)


def test_a_scheduler_that_fires_in_two_steps_fails() -> None:
    """The sound one passes the same test."""

    def maker(kind: type[MemorySchedules]) -> Callable[..., tuple[MemoryBroker, MemorySchedules]]:
        server = MemoryServer()
        queue, table = server.queue("kit"), server.schedules("kit")
        return lambda **_: (MemoryBroker(queue, retry=60.0, backend="kit"), kind(table, backend="kit"))

    run(FireContract, "test_a_slot_fires_once", maker(MemorySchedules), ())
    with pytest.raises(AssertionError):
        run(FireContract, "test_a_slot_fires_once", maker(broken.FireIsTwoSteps), ())


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(SERIALIZERS))
def test_a_broken_serializer_fails(
    wrong: type[JsonSerializer], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each serializer that is wrong in one way fails a test that the sound one passes."""
    run(SerializerContract, test, JsonSerializer, parameters)
    with pytest.raises(Exception):  # noqa: B017 - raising what it may not is one of the ways to be wrong
        run(SerializerContract, test, wrong, parameters)


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (broken.Buffers, "test_accepted_messages_survive_the_producer"),
        (broken.RetryIsTwoSteps, "test_every_settlement_is_whole_or_not_at_all"),
        (broken.RemoveIsTwoSteps, "test_a_message_is_leased_or_removed"),
    ],
)
def test_a_broker_that_cannot_stand_a_crash_fails(
    wrong: type[SqliteBroker], test: str, tmp_path: Path
) -> None:
    """What is lost or half done when a process is killed is found."""

    def maker(name: str) -> Callable[..., SqliteBroker]:
        sections = {"sqlite": SqliteSettings(path=tmp_path / name)}
        return lambda name="kit", **fields: wrong(Settings(name=name, sections=sections, **fields))

    def try_often() -> None:
        # the moment of the kill is not chosen: there are many chances for a bad one, and one is enough
        for number in range(20):
            run(BrokerContract, test, maker(f"{number}.db"), ())

    with pytest.raises((AssertionError, TimeoutError)):
        try_often()


@pytest.mark.parametrize("wrong", [broken.SettlesBeforeItGoesOn, broken.GoesOnBeforeItSaves])
def test_a_broker_that_breaks_chains_fails(wrong: type[SqliteBroker], tmp_path: Path) -> None:
    """A step that is lost, or made although the one before was not, is found."""
    test = "test_what_follows_is_there_before_its_cause_is_gone"

    def maker(kind: type[SqliteBroker], name: str) -> Callable[..., tuple[SqliteBroker, SqliteResults]]:
        sections = {"sqlite": SqliteSettings(path=tmp_path / name)}

        def make(**fields: Any) -> tuple[SqliteBroker, SqliteResults]:
            settings = Settings(name="kit", sections=sections, **fields)
            return kind(settings), SqliteResults(settings)

        return make

    def try_often() -> None:
        # the moment of the kill is not chosen: there are many chances for a bad one, and one is enough
        for number in range(20):
            run(CommitContract, test, maker(wrong, f"{number}.db"), ())

    run(CommitContract, test, maker(SqliteBroker, "sound.db"), ())
    with pytest.raises(AssertionError):
        try_often()

"""What strangers' brokers got wrong unnoticed is found."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.errors import BackendError
from qcore.interfaces import Settings
from qcore_sqlite import SqliteBroker, SqliteSettings
from qcore_testing import BrokerContract
from qcore_testing.memory import MemoryBroker, MemoryServer
from tests.conformance import broken_crashes, broken_queues, broken_receipts, broken_servers
from tests.conformance.running import each, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.portable

#: what a test says of something broken
SAID: Final = (AssertionError, ValueError, IndexError, BackendError, pytest.fail.Exception)

CONNECTION: Final = "another connection"
PROCESS: Final = "another process"
COMES_BACK: Final = "test_what_comes_back_is_before_what_came_later"
IN_MEMORY: Final = [
    (broken_receipts.ExtendsItsOwn, "test_a_lease_is_extended_from_elsewhere", CONNECTION),
    (broken_receipts.StrangeReceiptStops, "test_strange_receipts_do_not_stop_the_others"),
    (broken_receipts.OneQueueForAllNames, "test_two_queues_share_nothing", "kit.2"),
    (broken_receipts.CaseIsIgnored, "test_two_queues_share_nothing", "Kit"),
    (broken_receipts.OwnerOfAllQueues, "test_leases_of_one_owner_are_released_in_one_queue"),
    (broken_receipts.StatusOfAllQueues, "test_the_status_of_one_queue_is_not_shown_in_another"),
    (broken_receipts.DeleteTakesTheLive, "test_live_messages_are_not_deleted"),
    (broken_receipts.CountersAreShort, "test_large_counters_come_back"),
    (broken_receipts.DelaysAreWhole, "test_a_fraction_of_a_second_is_not_cut_off"),
    (broken_receipts.LeasesAreWhole, "test_a_fraction_of_a_second_is_not_cut_off"),
    (broken_receipts.RetriesAreWhole, "test_a_fraction_of_a_second_of_a_settlement_is_not_cut_off"),
    (broken_receipts.ReasonTooLongIsDropped, "test_a_long_reason_is_kept_or_shortened"),
    (broken_receipts.RetryDelayIsDenied, "test_a_delay_of_a_settlement_is_honoured_or_refused"),
    (broken_receipts.RefusesTooLate, "test_a_delay_of_a_settlement_is_honoured_or_refused"),
    (broken_queues.ReleaseGoesBehind, COMES_BACK, "released"),
    (broken_queues.OwnerGoesBehind, COMES_BACK, "its process is gone"),
    (broken_queues.ExpiryGoesBehind, COMES_BACK, "its lease ended"),
    (broken_servers.LeavesAFileOpen, "test_calls_leave_nothing_open"),
    (broken_servers.LeaseEatsAll, "test_a_signal_gets_out_of_the_wait", KeyboardInterrupt),
]
IN_FILES: Final = [
    (broken_receipts.SettlesForItsProcess, "test_a_lease_is_ended_from_elsewhere", PROCESS),
    (broken_receipts.ExtendsForItsProcess, "test_a_lease_is_extended_from_elsewhere", PROCESS),
    (broken_servers.CloseClosesNothing, "test_close_closes"),
    (broken_crashes.RetryRemovesFirst, "test_a_settlement_is_cut_short_at_each_step"),
    (broken_crashes.RetryAddsFirst, "test_a_settlement_is_cut_short_at_each_step"),
    (broken_crashes.ReleaseRemovesFirst, "test_a_settlement_is_cut_short_at_each_step"),
    (broken_crashes.DeadLetterRemovesFirst, "test_a_settlement_is_cut_short_at_each_step"),
    (broken_crashes.RequeueRemovesFirst, "test_a_requeue_is_cut_short_at_each_step"),
    (broken_crashes.RequeueAddsFirst, "test_a_requeue_is_cut_short_at_each_step"),
]
AWAY: Final = "test_a_server_that_is_away_is_reported"
HANGS: Final = "test_a_server_that_hangs_is_not_waited_for"
SERVED: Final = [
    (broken_servers.PingLies, AWAY),
    (broken_servers.PingLies, HANGS),
    (broken_servers.EnqueueSwallows, AWAY),
    (broken_servers.EnqueueSwallows, HANGS),
    (broken_servers.SettleSwallows, AWAY),
    (broken_servers.RaisesTheLibrarysOwn, AWAY),
    (broken_servers.WaitsForEver, HANGS),
    (broken_servers.StaysAway, AWAY),
    (broken_servers.ForgetsAtRestart, "test_a_server_that_was_restarted_is_used_again"),
]


def in_memory(kind: type[MemoryBroker]) -> Callable[..., MemoryBroker]:
    """Return a maker of brokers in memory, with a queue for each name."""
    server = MemoryServer()
    find: Callable[[str], str] = getattr(kind, "queue_name", str)

    def make(name: str = "kit", retry: float = 60.0, owner: bytes = b"", **_: Any) -> MemoryBroker:
        return kind(server.queue(find(name)), retry=retry, backend="kit", owner=owner)

    return make


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(IN_MEMORY))
def test_a_broken_broker_in_memory_fails(
    wrong: type[MemoryBroker], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    run(BrokerContract, test, in_memory(MemoryBroker), parameters)
    with pytest.raises(SAID) as caught:
        run(BrokerContract, test, in_memory(wrong), parameters)

    assert any("the rule: " in note for note in caught.value.__notes__)


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(IN_FILES))
def test_a_broken_broker_of_several_processes_fails(
    wrong: type[SqliteBroker], test: str, parameters: tuple[Any, ...], tmp_path: Path
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""

    def maker(kind: type[SqliteBroker]) -> Callable[..., SqliteBroker]:
        def make(name: str = "kit", **fields: Any) -> SqliteBroker:
            sections = {"sqlite": SqliteSettings(path=tmp_path / f"{kind.__name__}-{name}.db")}
            return kind(Settings(name=name, sections=sections, **fields))

        return make

    run(BrokerContract, test, maker(SqliteBroker), parameters)
    with pytest.raises(SAID):
        run(BrokerContract, test, maker(wrong), parameters)


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(SERVED))
def test_a_broken_broker_of_a_server_fails(
    wrong: type[broken_servers.ServedBroker], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    served(test, broken_servers.ServedBroker, parameters)
    with pytest.raises(SAID):
        served(test, wrong, parameters)


def served(test: str, kind: type[broken_servers.ServedBroker], parameters: tuple[Any, ...]) -> None:
    """Run a test on a broker whose server is taken away or frozen."""
    server, queues = broken_servers.Outages(), MemoryServer()

    def make(name: str = "kit", retry: float = 60.0, **_: Any) -> MemoryBroker:
        return kind(queues.queue(name), retry=retry, backend="kit", server=server)

    @contextmanager
    def restart() -> Iterator[None]:
        server.away = True
        yield
        server.away = False
        server.restarts += 1

    @contextmanager
    def freeze() -> Iterator[None]:
        server.answers.clear()
        server.frozen = True
        yield
        server.frozen = False
        server.answers.set()

    run(BrokerContract, test, make, parameters, restart_server=restart, freeze_server=freeze)


@pytest.mark.parametrize(
    "wrong",
    [broken_receipts.AcceptsAPartInSilence, broken_receipts.TellsTooMuch],
    ids=lambda one: one.__name__,
)
def test_a_broker_that_does_not_say_what_it_accepted_fails(wrong: type[MemoryBroker]) -> None:
    """The sound one accepts a part too, and says which."""
    test = "test_a_refused_call_says_what_was_accepted"
    run(BrokerContract, test, in_memory(broken_receipts.TellsWhatItAccepted), ())
    with pytest.raises(SAID):
        run(BrokerContract, test, in_memory(wrong), ())


def test_a_broker_that_refuses_a_delayed_settlement_passes() -> None:
    """It is sound: it says what it cannot, and the lease goes on."""
    test = "test_a_delay_of_a_settlement_is_honoured_or_refused"

    run(BrokerContract, test, in_memory(broken_receipts.RefusesRetryDelay), ())


def test_a_broker_that_keeps_its_owner_in_a_fork_fails(tmp_path: Path) -> None:
    """The leases of a dead worker would be taken for those of a living one."""
    test = "test_a_fork_leases_for_an_owner_of_its_own"

    def maker(kind: type[SqliteBroker], name: str) -> Callable[..., SqliteBroker]:
        sections = {"sqlite": SqliteSettings(path=tmp_path / name)}
        return lambda name="kit", **fields: kind(Settings(name=name, sections=sections, **fields))

    run(BrokerContract, test, maker(SqliteBroker, "sound.db"), ())
    with pytest.raises(SAID):
        run(BrokerContract, test, maker(broken_crashes.ForkKeepsTheOwner, "wrong.db"), ())

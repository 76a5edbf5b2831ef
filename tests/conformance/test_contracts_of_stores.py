"""Stores that are wrong without their server, or beside junk, are found."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.interfaces import Settings
from qcore_sqlite import SqliteBroker, SqliteSettings
from qcore_testing import (
    BrokerContract,
    CoordinationStoreContract,
    ResultStoreContract,
    ScheduleStoreContract,
)
from qcore_testing.memory import MemoryResults, MemorySchedules, MemoryServer
from qcore_testing.memory.coordination import MemoryCoordination
from tests.conformance import broken_stores
from tests.conformance.broken_servers import Outages
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from qcore_testing.contract import Contract

AWAY: Final = "test_a_server_that_is_away_is_reported"
#: seconds for what is sound, on a loaded machine, and for what is broken
_SLOW, _QUICK = 20.0, 1.0
HANGS: Final = "test_a_server_that_hangs_is_not_waited_for"
STORES: Final[dict[type[Contract], Callable[[MemoryServer], Any]]] = {
    ResultStoreContract: lambda server: MemoryResults(server.results("kit"), backend="kit"),
    ScheduleStoreContract: lambda server: MemorySchedules(server.schedules("kit"), backend="kit"),
    CoordinationStoreContract: lambda server: server.coordination("kit"),
}


@pytest.mark.parametrize("contract", STORES)
@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (broken_stores.AnswersByItself, AWAY),
        (broken_stores.AnswersByItself, HANGS),
        (broken_stores.RaisesItsLibrarysOwn, AWAY),
        (broken_stores.RaisesItsLibrarysOwn, HANGS),
        (broken_stores.HasNoLimit, HANGS),
        (broken_stores.IsLostForEver, AWAY),
    ],
)
def test_a_broken_store_of_a_server_fails(
    contract: type[Contract], wrong: type[broken_stores.ServedStore], test: str
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    served(contract, test, broken_stores.ServedStore, _SLOW)
    with pytest.raises(AssertionError):
        served(contract, test, wrong, _QUICK)


def served(
    contract: type[Contract], test: str, kind: type[broken_stores.ServedStore], timeout: float
) -> None:
    """Run a test on a store whose server is taken away or frozen."""
    server, memory = Outages(), MemoryServer()

    @contextmanager
    def restart() -> Iterator[None]:
        server.away = True
        yield
        server.away = False

    @contextmanager
    def freeze() -> Iterator[None]:
        server.answers.clear()
        server.frozen = True
        yield
        server.frozen = False
        server.answers.set()

    def make(**_: Any) -> Any:
        return kind(STORES[contract](memory), server)

    run(contract, test, make, (), timeout=timeout, restart_server=restart, freeze_server=freeze)


#: a call, as the test names it
STEPS: Final = {"join_barrier": "join", "barrier_members": "members", "delete_barriers": "delete"}
HOLDS_UP: Final = "test_state_that_is_not_ours_holds_nobody_up"
IGNORED: Final = "test_state_that_is_not_ours_is_ignored"
BESIDE_JUNK: Final = [
    *(
        pytest.param(broken_stores.wrong_at_junk(call, what), HOLDS_UP, (STEPS.get(call, call),), id=call)
        for call, what in broken_stores.AT_JUNK.items()
    ),
    pytest.param(broken_stores.RAISES, HOLDS_UP, ("acquire",), id="raises"),
    pytest.param(broken_stores.HANGS, HOLDS_UP, ("reserve",), id="hangs"),
    pytest.param(broken_stores.JunkFlagIsReturned, IGNORED, (), id="JunkFlagIsReturned"),
    pytest.param(broken_stores.JunkFlagStays, IGNORED, (), id="JunkFlagStays"),
]


@pytest.mark.parametrize(("wrong", "test", "parameters"), BESIDE_JUNK)
def test_broken_coordination_beside_junk_fails(
    wrong: type[MemoryCoordination], test: str, parameters: tuple[str, ...]
) -> None:
    """Each is wrong in one call and fails a test that the sound one passes."""

    def maker(kind: type[MemoryCoordination]) -> Callable[..., MemoryCoordination]:
        made = kind()
        return lambda **_: made

    run(CoordinationStoreContract, test, maker(MemoryCoordination), parameters, timeout=_SLOW, put_junk=str)
    with pytest.raises(AssertionError):
        run(CoordinationStoreContract, test, maker(wrong), parameters, put_junk=str)


@pytest.mark.parametrize(
    "wrong",
    [broken_stores.JunkStopsTheList, broken_stores.JunkStopsTheClaim, broken_stores.JunkIsNotRemoved],
)
def test_a_broken_schedule_store_beside_junk_fails(wrong: type[MemorySchedules]) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    test = "test_schedules_that_are_not_ours_are_ignored"

    def maker(kind: type[MemorySchedules]) -> Callable[..., MemorySchedules]:
        table = MemoryServer().schedules("kit")
        return lambda **_: kind(table, backend="kit")

    run(ScheduleStoreContract, test, maker(MemorySchedules), (), put_junk=str)
    with pytest.raises((AssertionError, ValueError)):
        run(ScheduleStoreContract, test, maker(wrong), (), put_junk=str)


class NothingHasEnded(SqliteBroker):
    """Claims to remember, and does not."""

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Remember nothing."""
        del ids
        return ()


class EverythingHasEnded(SqliteBroker):
    """Takes any message for a copy."""

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Know all."""
        return ids


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (NothingHasEnded, "test_what_was_acknowledged_is_known_to_every_connection"),
        (NothingHasEnded, "test_commit_and_lease_remembers"),
        (NothingHasEnded, "test_an_acknowledgement_that_comes_late_is_remembered"),
        (NothingHasEnded, "test_the_latest_ids_are_remembered"),
        (EverythingHasEnded, "test_what_comes_back_has_not_ended"),
        (EverythingHasEnded, "test_nothing_is_remembered_without_a_window"),
    ],
)
def test_a_broker_that_remembers_wrongly_fails(wrong: type[SqliteBroker], test: str, tmp_path: Path) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""

    def maker(kind: type[SqliteBroker]) -> Callable[..., SqliteBroker]:
        sections = {"sqlite": SqliteSettings(path=tmp_path / f"{kind.__name__}.db")}
        return lambda **fields: kind(Settings(name="kit", sections=sections, **fields))

    run(BrokerContract, test, maker(SqliteBroker), ())
    with pytest.raises(AssertionError):
        run(BrokerContract, test, maker(wrong), ())


@pytest.mark.parametrize(
    ("contract", "call", "instead", "test"),
    [
        pytest.param(contract, *case, id=f"{case[0]}-{case[2]}")
        for contract, cases in (
            (ResultStoreContract, broken_stores.RESULTS),
            (ScheduleStoreContract, broken_stores.SCHEDULES),
        )
        for case in cases
    ],
)
def test_a_store_that_does_something_else_fails(
    contract: type[Contract], call: str, instead: Callable[..., Any], test: str
) -> None:
    """Each is wrong in one call and fails a test that the sound one passes."""
    sound, wrong = MemoryServer(), MemoryServer()

    run(contract, test, lambda **_: STORES[contract](sound), (), timeout=_SLOW)
    with pytest.raises(AssertionError):
        run(contract, test, lambda **_: broken_stores.DoesAnother(STORES[contract](wrong), call, instead), ())

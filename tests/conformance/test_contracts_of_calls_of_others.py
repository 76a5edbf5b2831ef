"""One wrong call of a store, serializer or reporter is found."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.errors import BackendError, EncodeError
from qcore.interfaces import Settings
from qcore_json import JsonSerializer
from qcore_reports.log_reporter import LogReporter
from qcore_sqlite import SqliteBroker, SqliteResults, SqliteSchedules, SqliteSettings
from qcore_sqlite.coordination import SqliteCoordination
from qcore_sqlite.database import Database
from qcore_testing import (
    CommitContract,
    CoordinationStoreContract,
    ErrorReporterContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
    SerializerContract,
)
from qcore_testing.memory import MemoryBroker, MemoryResults, MemoryServer
from qcore_testing.memory.coordination import MemoryCoordination
from tests.conformance import broken_calls_of_others as broken
from tests.conformance import broken_calls_outside
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qcore_testing.contract import Contract

pytestmark = pytest.mark.portable

#: what a test says of something broken
SAID: Final = (AssertionError, ValueError, RuntimeError, BackendError, TimeoutError, pytest.fail.Exception)
#: seconds for what is sound, on a loaded machine
_SLOW: Final = 20.0


@pytest.mark.parametrize(("broker", "store", "test"), broken.PAIRS)
def test_a_pair_with_a_wrong_call_fails(
    broker: type[MemoryBroker], store: type[MemoryResults], test: str
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""

    def maker(one: type[MemoryBroker], other: type[MemoryResults]) -> Callable[..., Any]:
        server = MemoryServer()
        queue, table = server.queue("kit"), server.results("kit")
        return lambda retry=60.0, **_: (one(queue, retry=retry, backend="kit"), other(table, backend="kit"))

    run(CommitContract, test, maker(MemoryBroker, MemoryResults), (), timeout=_SLOW)
    with pytest.raises(SAID):
        run(CommitContract, test, maker(broker, store), ())


@pytest.mark.parametrize(("wrong", "test"), broken.COORDINATION)
def test_coordination_with_a_wrong_call_fails(wrong: type[MemoryCoordination], test: str) -> None:
    """Each is wrong in one call and fails a test that the sound one passes."""

    def maker(kind: type[MemoryCoordination]) -> Callable[..., MemoryCoordination]:
        made = kind()
        return lambda **_: made

    run(CoordinationStoreContract, test, maker(MemoryCoordination), (), timeout=_SLOW)
    with pytest.raises(SAID):
        run(CoordinationStoreContract, test, maker(wrong), ())


def _results(settings: Settings, kind: type) -> Any:
    return kind(settings)


def _coordination(settings: Settings, kind: type) -> Any:
    return kind(Database(settings))


def _pair(settings: Settings, kind: type) -> Any:
    return kind(settings), SqliteResults(settings)


def _firing(settings: Settings, kind: type) -> Any:
    return SqliteBroker(settings), kind(settings)


#: a contract, what makes the thing, what is sound, what is broken, and the test that must say so
IN_FILES: Final[list[Any]] = [
    (CommitContract, _pair, SqliteBroker, broken.SettlesThenSaves, "test_what_is_gone_has_a_result"),
    (FireContract, _firing, SqliteSchedules, broken.FiresInTwoSteps, "test_a_slot_fires_once_whoever_dies"),
    (FireContract, _firing, SqliteSchedules, broken.SharesNothing, "test_they_share_a_backend"),
    (
        FireContract,
        _firing,
        SqliteSchedules,
        broken.FiresNothingForNothing,
        "test_a_slot_may_ask_for_nothing_or_for_later",
    ),
    (
        ResultStoreContract,
        _results,
        SqliteResults,
        broken.KeepsResults,
        "test_saved_results_survive_the_worker",
    ),
    (
        ResultStoreContract,
        _results,
        SqliteResults,
        broken.LastOneWins,
        "test_writers_race_and_the_success_wins",
    ),
    (ResultStoreContract, _results, SqliteResults, broken.ForkSavesNothing, "test_a_fork_saves_too"),
    (
        ResultStoreContract,
        _results,
        SqliteResults,
        broken.StaysInItsGroup,
        "test_a_replaced_result_leaves_its_group",
    ),
    (ResultStoreContract, _results, SqliteResults, broken.WakesNobody, "test_whoever_watches_is_woken"),
    (
        ScheduleStoreContract,
        _results,
        SqliteSchedules,
        broken.ClaimsWithoutALock,
        "test_one_of_many_claims_a_slot",
    ),
    (
        CoordinationStoreContract,
        _coordination,
        SqliteCoordination,
        broken.JoinsOneByOne,
        "test_a_call_is_done_whole_or_not_at_all",
    ),
    (
        CoordinationStoreContract,
        _coordination,
        SqliteCoordination,
        broken.ForkSetsNothing,
        "test_a_fork_sets_flags_too",
    ),
    (
        CoordinationStoreContract,
        _coordination,
        SqliteCoordination,
        broken.CountsInItself,
        "test_members_come_once_however_many_say_so",
    ),
]


@pytest.mark.parametrize(
    ("contract", "make", "sound", "wrong", "test"),
    [pytest.param(*case, id=f"{case[3].__name__}-{case[4]}") for case in IN_FILES],
)
def test_a_store_of_several_processes_with_a_wrong_call_fails(  # noqa: PLR0917 - what is made of what
    contract: type[Contract],
    make: Callable[[Settings, type], Any],
    sound: type,
    wrong: type,
    test: str,
    tmp_path: Path,
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""

    def maker(kind: type, name: str) -> Callable[..., Any]:
        sections = {"sqlite": SqliteSettings(path=tmp_path / name)}
        return lambda **fields: make(Settings(name="kit", sections=sections, **fields), kind)

    # one that notifies nobody is not asked whether it does
    with contextlib.suppress(pytest.skip.Exception):
        run(contract, test, maker(sound, "sound.db"), (), timeout=_SLOW)

    def try_often() -> None:
        # some are killed at a moment that is not chosen: there are several chances for a bad one
        for number in range(10):
            run(contract, test, maker(wrong, f"{number}.db"), ())

    with pytest.raises(SAID):
        try_often()


@pytest.mark.parametrize(("wrong", "test", "parameters"), broken_calls_outside.SERIALIZERS)
def test_a_serializer_with_a_wrong_call_fails(
    wrong: type[JsonSerializer], test: str, parameters: Sequence[object]
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    run(SerializerContract, test, JsonSerializer, parameters)
    with pytest.raises((*SAID, EncodeError)):
        run(SerializerContract, test, wrong, parameters)


@pytest.mark.parametrize(("wrong", "test", "parameters"), broken_calls_outside.REPORTERS)
def test_a_reporter_with_a_wrong_call_fails(
    wrong: type[LogReporter],
    test: str,
    parameters: Sequence[object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    received: Callable[[], Any] = lambda: caplog.text  # noqa: E731 - what the fixture returns

    def maker(kind: type[LogReporter]) -> Callable[..., LogReporter]:
        def new(**fields: Any) -> LogReporter:
            reporter = kind()
            for name, value in fields.items():
                setattr(reporter, name, value)
            return reporter

        return new

    fixtures: dict[str, Any] = {"received": received, "monkeypatch": monkeypatch}
    run(ErrorReporterContract, test, maker(LogReporter), parameters, timeout=_SLOW, **fixtures)
    caplog.clear()
    with pytest.raises(SAID):
        run(ErrorReporterContract, test, maker(wrong), parameters, **fixtures)

"""What strangers' serializers and reporters got wrong unnoticed is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore_json import JsonSerializer
from qcore_reports.log_reporter import LogReporter
from qcore_testing import (
    CoordinationStoreContract,
    ErrorReporterContract,
    ResultStoreContract,
    ScheduleStoreContract,
    SerializerContract,
)
from qcore_testing.foreign import foreign
from qcore_testing.memory import MemoryResults, MemorySchedules, MemoryServer
from tests.conformance import broken_others
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.contract import Contract

pytestmark = pytest.mark.portable

VALUES: Final = {maker.__name__: maker for maker in foreign()}


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        (broken_others.SurrogateRaises, "a surrogate"),
        (broken_others.SurrogateRaises, "a key with a surrogate"),
        (broken_others.SurrogateIsReplaced, "a surrogate"),
        (broken_others.DepthRaises, "deep lists"),
        (broken_others.DepthRaises, "deep dicts"),
        (broken_others.ForeignRaises, "an object"),
        (broken_others.ForeignRaises, "a set"),
        (broken_others.WritesWhatItCannotRead, "a large integer"),
    ],
)
def test_a_broken_serializer_fails(wrong: type[JsonSerializer], value: str) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    test = "test_anything_is_written_or_refused"
    run(SerializerContract, test, JsonSerializer, [VALUES[value]])
    with pytest.raises(Exception) as caught:
        run(SerializerContract, test, wrong, [VALUES[value]])

    assert any("the rule: " in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    "wrong", [broken_others.ReportsNothing, broken_others.ReportsErrorsOnly, broken_others.ReportsNoText]
)
def test_a_broken_reporter_fails(wrong: type[LogReporter], caplog: pytest.LogCaptureFixture) -> None:
    """Each is wrong in one way and fails a test that the sound one passes."""
    test = "test_failures_reach_the_tracker"
    received: Callable[[], Any] = lambda: caplog.text  # noqa: E731 - what the fixture returns

    run(ErrorReporterContract, test, LogReporter, (), received=received)
    caplog.clear()
    with pytest.raises(AssertionError, match="did not reach the tracker"):
        run(ErrorReporterContract, test, wrong, (), received=received)


def test_a_reporter_that_wants_a_header_fails() -> None:
    """Whoever enqueues decides which headers there are."""
    test = "test_any_headers_are_judged"

    run(ErrorReporterContract, test, LogReporter, ())
    with pytest.raises(KeyError):
        run(ErrorReporterContract, test, broken_others.ChoosesByOneHeader, ())


def test_a_store_that_reads_junk_fails() -> None:
    """One that takes whatever is stored for a result; the rule is skipped where nothing can be put."""
    table = MemoryServer().results("kit")
    test = "test_results_that_are_not_ours_are_ignored"
    make: Callable[..., Any] = lambda **_: MemoryResults(table, backend="kit")  # noqa: E731 - a fixture

    with pytest.raises(AttributeError):
        run(ResultStoreContract, test, make, (), put_junk=lambda id_, _: table.rows.update({id_: object()}))
    with pytest.raises(pytest.skip.Exception):
        run(ResultStoreContract, test, make, (), put_junk=None)


@pytest.mark.parametrize(
    ("contract", "test", "kind"),
    [
        (ResultStoreContract, "test_two_queues_share_no_results", "results"),
        (ScheduleStoreContract, "test_two_queues_share_no_schedules", "schedules"),
        (CoordinationStoreContract, "test_two_queues_share_no_state", "coordination"),
    ],
)
@pytest.mark.parametrize(("name", "wrong"), [("kit.2", lambda _: "kit"), ("Kit", str.lower)])
def test_a_store_that_mixes_queues_fails(
    contract: type[Contract], test: str, kind: str, name: str, wrong: Callable[[str], str]
) -> None:
    """One that takes all names for one, or leaves the case of letters out; the sound one passes."""

    def maker(find: Callable[[str], str]) -> Callable[..., Any]:
        server = MemoryServer()
        stores = {
            "results": lambda name: MemoryResults(server.results(name), backend="kit"),
            "schedules": lambda name: MemorySchedules(server.schedules(name), backend="kit"),
            "coordination": server.coordination,
        }
        return lambda name="kit", **_: stores[kind](find(name))

    run(contract, test, maker(str), [name])
    with pytest.raises(AssertionError):
        run(contract, test, maker(wrong), [name])

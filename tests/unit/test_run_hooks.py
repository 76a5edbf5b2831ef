"""Which hooks of reporters are called for a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import ErrorReporter
from qcore.tasks.run_hooks import RunHooks

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.portable


class _Watching(ErrorReporter):
    """A reporter with a hook on both sides of a run."""

    def qcore_pre_execute(self, event: Any) -> None:
        """Do nothing."""

    def qcore_post_execute(self, event: Any) -> None:
        """Do nothing."""

    def report(self, report: Any) -> None:
        """Do nothing."""

    def flush(self, seconds: float) -> None:
        """Do nothing."""


class _Choosing(_Watching):
    """One that wants some runs only."""

    def wants_run(self, headers: Mapping[str, str]) -> bool:
        """Say what the message says."""
        return bool(int(headers.get("wanted", "0")))


def hooks(*reporters: ErrorReporter) -> RunHooks:
    """Return the hooks of a runtime with these reporters."""
    runtime: Any = SimpleNamespace(hooks=lambda _: (), reporters=reporters)
    return RunHooks.of(runtime)


def named(found: Any) -> list[str]:
    """Return whose hooks they are."""
    return [one.plugin for one in found]


def test_a_reporter_that_does_not_choose_is_not_asked() -> None:
    """Each run has the same hooks, so nothing is done to find them."""
    found = hooks(_Watching())

    assert not found.chooses
    assert named(found.pre) == named(found.post) == ["_Watching"]


def test_a_reporter_that_chooses_is_asked_before_each_run() -> None:
    """Both hooks of a run are called, or none; those of others are called in any case."""
    found = hooks(_Choosing(), _Watching())

    assert found.chooses
    assert [named(one) for one in found.of_run({"wanted": "1"})] == [["_Watching", "_Choosing"]] * 2
    assert [named(one) for one in found.of_run({"wanted": "0"})] == [["_Watching"]] * 2
    assert [named(one) for one in found.of_run(None)] == [["_Watching"]] * 2


def test_a_reporter_that_fails_to_choose_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged, and hurts no task."""
    pre, _ = hooks(_Choosing()).of_run({"wanted": "many"})

    assert named(pre) == ["_Choosing"]
    assert "wants_run of error reporter _Choosing failed" in caplog.text

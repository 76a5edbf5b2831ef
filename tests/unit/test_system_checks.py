"""What the doctor says of this machine."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from qcore.cli import system_checks
from qcore.cli.check_result import CheckResult, Verdict
from qcore.cli.session import Session

if TYPE_CHECKING:
    import pytest


def told(verdict: Verdict) -> list[str]:
    """Return what the check of the interpreter says with a verdict."""
    found = system_checks.interpreter(Session())
    return [one.text for one in found if isinstance(one, CheckResult) and one.verdict is verdict]


def test_a_system_that_was_never_tried_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has run qcore on macOS."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")

    assert told(Verdict.WARN)[0].endswith("qcore has been tested on Linux only")


def test_a_system_that_cannot_fork_is_told_to_use_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice names the only system that was tried."""
    monkeypatch.delattr(os, "fork")

    assert told(Verdict.FAIL)[0].endswith("this system cannot fork, use Linux")


def test_linux_is_fine() -> None:
    """There is nothing to complain of where the tests run."""
    assert not told(Verdict.WARN) + told(Verdict.FAIL)

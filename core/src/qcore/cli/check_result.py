"""The result of one check of the doctor."""

from __future__ import annotations

import enum

import attrs


class Verdict(enum.Enum):
    """How serious a result is."""

    OK = "ok"
    #: tasks run, but not as fast or as safely as they could
    WARN = "warn"
    #: tasks do not run
    FAIL = "fail"


@attrs.frozen
class CheckResult:
    """One line that the doctor prints."""

    verdict: Verdict
    about: str
    text: str

"""What the doctor says of one thing."""

from __future__ import annotations

import enum

import attrs


class Verdict(enum.Enum):
    """How grave it is."""

    OK = "ok"
    #: tasks run, but not as well or as safely as they could
    WARN = "warn"
    #: tasks do not run
    FAIL = "fail"


@attrs.frozen
class CheckResult:
    """One line of the doctor's."""

    verdict: Verdict
    about: str
    text: str

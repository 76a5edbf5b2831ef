"""Serializers and reporters that do something else in one call."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import DecodeError
from qcore.model import State, TaskInfo
from qcore_json import JsonSerializer
from qcore_reports.log_reporter import LogReporter
from tests.conformance.broken_calls_of_others import wrong

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport

#: longer than what is to happen at once may take in a hurried test
_LONG: Final = 1.2


def _raise(*_: Any) -> Any:
    raise RuntimeError("the library's own")


class ReadsWhatIsLeft(JsonSerializer):
    """Has None for what it cannot read."""

    def loads(self, data: bytes) -> Any:
        """Swallow the error."""
        try:
            return super().loads(data)
        except DecodeError:
            return None


class WritesWithoutEnd(JsonSerializer):
    """Lets the error of its recursion out."""

    def dumps(self, value: Any) -> bytes:
        """Translate nothing."""
        return json.dumps(value, check_circular=False).encode()


class WritesAnything(JsonSerializer):
    """Writes a value of another type as one that looks alike."""

    def dumps(self, value: Any) -> bytes:
        """Have json decide."""
        return json.dumps(value, default=str).encode()


SERIALIZERS: Final = [
    (wrong(JsonSerializer, "loads", _raise), "test_damaged_bytes_raise_decode_error", ()),
    (wrong(JsonSerializer, "loads", _raise), "test_hostile_bytes_raise_decode_error", (b"[" * 200_000,)),
    (ReadsWhatIsLeft, "test_hostile_bytes_raise_decode_error", (b"\xc1",)),
    (WritesWithoutEnd, "test_a_value_without_end_is_refused", ()),
    (WritesAnything, "test_no_type_becomes_another", (State.FAILED,)),
    (wrong(JsonSerializer, "code", 3000), "test_the_code_is_one_byte", ()),
]


def _hang(*_: Any) -> None:
    threading.Event().wait(_LONG)


class StartsAThread(LogReporter):
    """Begins before its process is a worker."""

    def preload(self) -> None:
        """Leave a thread behind."""
        threading.Thread(target=_hang, daemon=True).start()


class ReadsTheText(LogReporter):
    """Takes each error for one that has a text."""

    def report(self, report: ErrorReport) -> None:
        """Encode it."""
        report.text.encode()
        super().report(report)


class NeedsATask(LogReporter):
    """Reports what happens to tasks."""

    def report(self, report: ErrorReport) -> None:
        """Leave out what is none."""
        if report.task.name:
            super().report(report)


class SendsLater(LogReporter):
    """Sends when it is flushed, and says that it has nothing to do then."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def report(self, report: ErrorReport) -> None:
        """Keep it."""
        self.kept.append(report)

    def waits(self) -> bool:
        """Forget what is kept."""
        return False

    def flush(self, seconds: float) -> None:
        """Send it."""
        del seconds
        for one in self.kept:
            super().report(one)


class ReadsForEver(LogReporter):
    """Waits until it can read what was handed on."""

    def receive(self, data: bytes) -> None:
        """Wait."""
        del data
        _hang()


class HidesNothing(LogReporter):
    """Sends secrets."""

    def redact(self, value: Any) -> Any:
        """Leave it as it is."""
        return value


_UNWRITTEN: Final = TaskInfo(id="0" * 32, name="shop.tasks.pay", attempt=1)
REPORTERS: Final = [
    (wrong(LogReporter, "flush", _hang), "test_a_flush_ends", ()),
    (StartsAThread, "test_no_thread_is_started_before_the_fork", ()),
    (NeedsATask, "test_what_is_no_task_reaches_the_tracker", ()),
    (SendsLater, "test_what_waits_for_nothing_is_not_flushed", ()),
    (ReadsTheText, "test_nothing_is_raised", (_UNWRITTEN, None, "\ud800", False)),
    (HidesNothing, "test_secrets_are_hidden", ()),
    (ReadsForEver, "test_what_is_handed_on_holds_nobody_up", ()),
]
